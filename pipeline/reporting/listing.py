"""The list of the cells that belong to a table, so that a report shows no others.

A seed or row that is taken out of a table leaves its results on disk.
"""

from pathlib import Path

from pipeline.artifacts import read_text

LISTING = "cells.txt"
"""File in the results of a table. Each line names a cell, or `<variant>/<cell>`."""


def listed(folder: Path) -> list[str]:
    """The names in the list of a table; empty if it has none.

    Raises:
        UserError: the list cannot be read.
    """
    path = folder / LISTING
    return read_text(path).splitlines() if path.exists() else []


def evaluated(folder: Path) -> list[Path]:
    """Metrics files of the evaluated cells in `folder`, without those that its table no longer has.

    Args:
        folder: results of a table, or of one of its variants. Without a list, all cells count.

    Raises:
        UserError: the list cannot be read.
    """
    found = sorted(folder.glob("*.json"))
    for top in (folder, folder.parent):
        if (top / LISTING).exists():
            names = set(listed(top))
            return [
                path for path in found if path.relative_to(top).with_suffix("").as_posix() in names
            ]
    return found
