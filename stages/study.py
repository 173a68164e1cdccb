"""Draw the report of the variants of a table.

reads   RESULTS of the table and VARIANTS, which has a folder of results for each variant, both
        with cells.txt, the list of their cells; and reports/study.py (the notebook) with
        notes.csv beside it
writes  OUT/report.html, report.ipynb, tables/*.csv and *.md, figures/*.{png,svg}
"""

import argparse
from pathlib import Path

from pipeline.errors import run
from pipeline.reporting.render import render_study


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="results of the table")
    parser.add_argument("--variants", type=Path, required=True, help="results of its variants")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    render_study(arguments.results, arguments.variants, arguments.out)
    print(f"report: {arguments.out / 'report.html'}")


if __name__ == "__main__":
    run(main)
