"""Build the static site from what is committed.

reads   results/, docs/*.md, docs/method.png, reports/published.csv, notes.csv and fidelity.csv,
        reports/<table>/report.ipynb, tables/ and figures/
writes  OUT/index.html, ledger.html, docs/*.html, reports/<table>/report.html and what they link to
"""

import argparse
from pathlib import Path

from pipeline.errors import run
from pipeline.reporting.site import build


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the site, empty or new")
    parser.add_argument("--root", type=Path, default=Path(), help="the project")
    arguments = parser.parse_args()
    build(arguments.root, arguments.out)
    print(f"site: {arguments.out / 'index.html'}")


if __name__ == "__main__":
    run(main)
