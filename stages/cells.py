"""List the cells of a table, so that its report leaves out what was taken out of the table.

reads   RECIPE, the dvc.yaml of the table, and the cells.yaml beside it
writes  OUT, the names of the cells that its stages evaluate, one on each line
"""

import argparse
from pathlib import Path

from pipeline.artifacts import check_writable, write_text
from pipeline.errors import run
from pipeline.recipes import cells_of


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", type=Path, required=True, help="dvc.yaml of the table")
    parser.add_argument("--out", type=Path, required=True, help="file in the results of the table")
    arguments = parser.parse_args()
    out = arguments.out
    check_writable(out.parent, out.name)
    cells = cells_of(arguments.recipe, out.parent)
    write_text(out, "".join(f"{cell}\n" for cell in cells))


if __name__ == "__main__":
    run(main)
