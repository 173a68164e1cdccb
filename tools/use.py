"""Let DVC see a table: without that, it reads the digits alone.

At each command DVC reads every dvc.yaml that it sees, which takes seconds for all tables, and in a
revision of Git it cannot follow their links. `.dvcignore` of the root therefore hides the tables,
and a `.dvcignore` in the folder of a table, which Git does not track, shows it. Remove that file to
hide the table again.

reads   tables/TABLE/cells.yaml
writes  tables/TABLE/.dvcignore, and that of the table which TABLE varies
"""

import argparse
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.artifacts import write_text
from pipeline.errors import UserError, run


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
        table: Name of a folder in tables/.
        root: Folder of the project.

    Returns:
        The files that were written because they were not there.

    Raises:
        UserError: there is no such table.
    """
    folder = root / "tables" / table
    if not table or not (folder / "cells.yaml").is_file():
        tables = sorted(path.parent.name for path in root.glob("tables/*/cells.yaml"))
        raise UserError(f"table is {table!r}: allowed are {', '.join(tables)}")
    base = YAML(typ="safe").load(folder / "cells.yaml").get("base", "digits")
    written = use(base, root) if base != "digits" else []
    shown = folder / ".dvcignore"
    if not shown.exists():
        write_text(shown, "!dvc.yaml\n")
        written.append(shown)
    return written


if __name__ == "__main__":
    run(main)
