"""Carry the trainings of a table to another machine, through Git.

Without --restore, the newest intact checkpoint of each unfinished training is copied from .scratch/
to checkpoints/, and carried checkpoints of trainings that have ended since are removed. Trained
networks that stages of the table still have to read, above all teachers, are pushed to networks/, a
DVC remote. Both folders are meant to be committed. With --restore, which is how `make run` begins,
checkpoints are copied back unless .scratch/ has a later epoch, and networks are pulled.

reads   dvc.yaml and dvc.lock of the table, .scratch/<table>, models/<table>, checkpoints/<table>
writes  checkpoints/<table>, networks/, or with --restore .scratch/<table>, models/<table>
"""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import sha256, write_bytes
from pipeline.errors import run
from tools.recipe import opened, own_stages, recipe_of
from tools.use import use

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

SCRATCH, CARRIED = Path(".scratch"), Path("checkpoints")
REMOTE = "networks"
"""Name of the remote in .dvc/config whose folder travels with Git."""


def main() -> None:
    """Entry point of `make carry`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", help="name of a folder in tables/")
    parser.add_argument("--restore", action="store_true", help="take them up on this machine")
    arguments = parser.parse_args()
    use(arguments.table)
    for path in restore(arguments.table) if arguments.restore else carry(arguments.table):
        print(path)
    if arguments.restore:
        pull(arguments.table)
    else:
        push(arguments.table)


def push(table: str) -> None:
    """Push the trained networks of a table that stages still have to read."""
    recipe = recipe_of(table)
    with opened(recipe) as repo:
        stages = own_stages(repo, recipe)
        needed = [stage.addressing for stage in stages if _is_needed(stage, stages)]
        if needed:
            repo.push(needed, remote=REMOTE)


def pull(table: str) -> None:
    """Pull the trained networks in a table's dvc.lock that were pushed and are missing here."""
    if not Path(REMOTE).is_dir():
        return
    recipe = recipe_of(table)
    with opened(recipe) as repo:
        absent = [
            stage.addressing
            for stage in own_stages(repo, recipe)
            if any(not Path(network).exists() for network in _networks(stage))
        ]
        if absent:
            repo.fetch(absent, remote=REMOTE)
            repo.checkout(absent, allow_missing=True)


def _networks(stage: "PipelineStage") -> dict[str, str]:
    """The trained networks that dvc.lock says `stage` wrote: hash by path."""
    return {
        out.fs_path: out.hash_info.value
        for out in stage.outs
        if Path(out.fs_path).is_relative_to(Path("models").resolve()) and out.hash_info
    }


def _is_needed(stage: "PipelineStage", stages: list["PipelineStage"]) -> bool:
    """Whether a training, or a stage that has not read it yet, reads what `stage` trained."""
    networks = _networks(stage)
    return any(
        reader.cmd_changed or any(_networks(reader)) or dep.hash_info.value != networks[dep.fs_path]
        for reader in stages
        for dep in reader.deps
        if dep.fs_path in networks
    )


def carry(table: str) -> list[Path]:
    """Make checkpoints/<table> hold the newest checkpoint of each unfinished training, and no more.

    Returns:
        The checkpoints that it holds now and did not hold before.
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
    """Copy carried checkpoints to where trainings look for them.

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
    """The newest intact checkpoint below `area`, for each training and fingerprint."""
    return {
        mark.parent.relative_to(area): mark.with_suffix(".safetensors")
        for mark in sorted(area.glob("*/*/epoch-*.sha256"))  # a later epoch replaces an earlier
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
