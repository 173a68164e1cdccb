"""Carry the unfinished trainings of a table to another machine, through Git.

Without --restore, the newest intact checkpoint of each training is copied from .scratch/ to
checkpoints/, to be committed, and what was carried of trainings that have ended since is removed.
With it, which is how `make run` begins, they are copied back, unless .scratch/ has a later epoch.

reads   .scratch/<table>, models/<table>, checkpoints/<table>
writes  checkpoints/<table>, or with --restore .scratch/<table>
"""

import argparse
import shutil
from pathlib import Path

from pipeline.artifacts import sha256, write_bytes
from pipeline.errors import UserError, run

SCRATCH, CARRIED = Path(".scratch"), Path("checkpoints")


def main() -> None:
    """Entry point of `make carry`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="name of a folder in tables/")
    parser.add_argument("--restore", action="store_true", help="take them up on this machine")
    arguments = parser.parse_args()
    if not Path("tables", arguments.table, "cells.yaml").is_file():
        raise UserError(f"table is {arguments.table!r}: there is no such folder in tables/")
    copied = restore(arguments.table) if arguments.restore else carry(arguments.table)
    for path in copied:
        print(path)


def carry(table: str) -> list[Path]:
    """Make checkpoints/<table> hold the newest checkpoint of each unfinished training, and no more.

    Returns:
        What it holds now and did not hold before.
    """
    newest = {
        key: path for key, path in _newest(SCRATCH / table).items() if not _has_ended(table, key)
    }
    for folder in (CARRIED / table).glob("*/*"):
        key = folder.relative_to(CARRIED / table)
        if _has_ended(table, key) or (key in newest and newest[key].name not in _names(folder)):
            shutil.rmtree(folder)
    return [
        _copy(path, CARRIED / table / key)
        for key, path in newest.items()
        if path.name not in _names(CARRIED / table / key)
    ]


def _has_ended(table: str, key: Path) -> bool:
    return Path("models", table, key.parts[0]).is_dir()


def restore(table: str) -> list[Path]:
    """Copy what is carried to where trainings look for it.

    Returns:
        The copies.
    """
    here = _newest(SCRATCH / table)
    return [
        _copy(path, SCRATCH / table / key)
        for key, path in _newest(CARRIED / table).items()
        if key not in here or here[key].name < path.name
    ]


def _newest(area: Path) -> dict[Path, Path]:
    """The newest intact checkpoint by training and fingerprint, as a path below `area`."""
    return {
        mark.parent.relative_to(area): mark.with_suffix(".safetensors")
        for mark in sorted(area.glob("*/*/epoch-*.sha256"))  # a later one takes the place
        if _is_intact(mark)
    }


def _is_intact(mark: Path) -> bool:
    try:
        return mark.is_file() and mark.read_text() == sha256(mark.with_suffix(".safetensors"))
    except (OSError, ValueError):
        return False


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.safetensors")}


def _copy(path: Path, folder: Path) -> Path:
    """Copy a checkpoint and, after it, the checksum that makes it count."""
    for each in (path, path.with_suffix(".sha256")):
        write_bytes(folder / each.name, each.read_bytes())
    return folder / path.name


if __name__ == "__main__":
    run(main)
