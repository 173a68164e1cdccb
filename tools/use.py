"""Let DVC see a table: without that, it reads the digits alone.

At each command DVC reads every dvc.yaml that it sees, which takes seconds for all tables, and in a
revision of Git it cannot follow their links. `.dvcignore` of the root therefore hides the tables,
and a `.dvcignore` in the folder of a table, which Git does not track, shows it. Remove that file to
hide the table again.

reads   tables/TABLE/cells.yaml
writes  tables/TABLE/.dvcignore, and that of the table that TABLE varies
"""

import argparse
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.artifacts import reading, write_text
from pipeline.errors import UserError, run
from pipeline.params import MALFORMED, shown


def main() -> None:
    """Entry point of `make use`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="name of a folder in tables/")
    use(parser.parse_args().table)


def use(table: str, root: Path = Path()) -> list[Path]:
    """Show a table to DVC, and the table that it varies.

    Args:
        table: Name of a folder in tables/, or digits, which DVC always sees.
        root: Folder of the project.

    Returns:
        The files that were written because they were not there.

    Raises:
        UserError: there is no such table, or its cells.yaml is malformed.
    """
    written = []
    for name in reversed(_with_bases(table, root)):
        mark = root / "tables" / name / ".dvcignore"
        if not mark.is_file():
            write_text(mark, "!dvc.yaml\n")
            written.append(mark)
    return written


def _with_bases(table: str, root: Path) -> list[str]:
    """The table, the table that it varies, and so on; without the digits."""
    tables = sorted(path.parent.name for path in root.glob("tables/*/cells.yaml"))
    found: list[str] = []
    name, place = table, "table"
    while name != "digits":
        if name not in tables:
            raise UserError(
                f"{place} is {shown(name)}: allowed are {', '.join(['digits', *tables])}"
            )
        if name in found:
            raise UserError(f"{place} is {shown(name)}: a table cannot vary itself")
        found.append(name)
        cells = root / "tables" / name / "cells.yaml"
        with reading(cells, "a mapping", *MALFORMED, RecursionError):
            content = YAML(typ="safe", pure=True).load(cells)
            name, place = content.get("base", "digits"), f"{cells}: base"
    return found


if __name__ == "__main__":
    run(main)
