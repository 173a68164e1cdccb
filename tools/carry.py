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
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import sha256, write_bytes
from pipeline.errors import UserError, one_line, run
from pipeline.recipes import opened, own_stages, recipe_of
from tools.use import use

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.stage import PipelineStage

SCRATCH, CARRIED = Path(".scratch"), Path("checkpoints")
EPOCH = r"epoch-[0-9]{4,10}"
"""Name of a checkpoint, without its suffix."""
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
        print(one_line(str(path)))
    if arguments.restore:
        pull(arguments.table)
    else:
        push(arguments.table)


def push(table: str) -> None:
    """Push the trained networks of a table that stages still have to read.

    One that is neither on this machine nor in the remote is named on stderr.
    """
    recipe = recipe_of(table)
    with opened(recipe) as repo:
        stages = own_stages(repo, recipe)
        store = repo.cloud.get_remote_odb(REMOTE)
        present = []
        for stage in stages:
            if not _is_needed(stage, stages):
                continue
            absent = [out for out in _networks(stage) if out.get_obj() is None]
            if not absent:
                present.append(stage.addressing)
            for out in absent:
                if not store.exists(out.hash_info.value):
                    _tell(f"{os.path.relpath(out.fs_path)}: is not on this machine; not pushed")
        if present:
            repo.push(present, remote=REMOTE)


def pull(table: str) -> None:
    """Pull the trained networks in a table's dvc.lock that were pushed and are missing here.

    One that stages still have to read and that cannot be pulled is named on stderr.
    """
    if not Path(REMOTE).is_dir():
        return
    recipe = recipe_of(table)
    with opened(recipe) as repo:
        stages = own_stages(repo, recipe)
        store = repo.cloud.get_remote_odb(REMOTE)
        absent = {
            stage: missing
            for stage in stages
            if (missing := [out for out in _networks(stage) if not Path(out.fs_path).exists()])
        }
        pushed = [
            stage.addressing
            for stage, missing in absent.items()
            if any(store.exists(out.hash_info.value) for out in missing)
        ]
        if pushed:
            repo.fetch(pushed, remote=REMOTE)
            repo.checkout(pushed, allow_missing=True)
        for stage, missing in absent.items():
            for out in missing:
                if not Path(out.fs_path).exists() and _is_needed(stage, stages):
                    _tell(
                        f"{os.path.relpath(out.fs_path)}: is missing or damaged in {REMOTE}/; "
                        "it is trained again"
                    )


def finished_elsewhere(table: str) -> set[str]:
    """Stages of an unfinished table that ended on another machine and need not run again here.

    These are the trainings whose network is missing here and is not needed any more, and the stages
    that have read it. There is none if all trainings of the table have ended.
    """
    recipe = recipe_of(table)
    with opened(recipe) as repo:
        stages = own_stages(repo, recipe)
        if all(out.hash_info for stage in stages for out in _models(stage)):
            return set()
        ended = [
            stage
            for stage in stages
            if (networks := _networks(stage))
            and not any(Path(out.fs_path).exists() for out in networks)
            and not _is_needed(stage, stages)
        ]
        absent = {out.fs_path for stage in ended for out in _networks(stage)}
        readers = [stage for stage in stages if absent & {dep.fs_path for dep in stage.deps}]
        return {stage.addressing for stage in (*ended, *readers)}


def _models(stage: "PipelineStage") -> list["Output"]:
    """The outputs of `stage` that are trained networks, whether it has run or not."""
    models = Path("models").resolve()
    return [out for out in stage.outs if Path(out.fs_path).is_relative_to(models)]


def _networks(stage: "PipelineStage") -> list["Output"]:
    """The trained networks that dvc.lock says `stage` wrote."""
    return [out for out in _models(stage) if out.hash_info]


def _is_needed(stage: "PipelineStage", stages: list["PipelineStage"]) -> bool:
    """Whether a training, or a stage that has not read it yet, reads what `stage` trained."""
    networks = {out.fs_path: out.hash_info for out in _networks(stage)}
    return any(
        reader.cmd_changed or _networks(reader) or dep.hash_info != networks[dep.fs_path]
        for reader in stages
        for dep in reader.deps
        if dep.fs_path in networks
    )


def carry(table: str) -> list[Path]:
    """Make checkpoints/<table> hold the newest checkpoint of each unfinished training, and no more.

    Damaged checkpoints are named on stderr.

    Returns:
        The checkpoints that it holds now and did not hold before.
    """
    area = CARRIED / table
    here, carried = _newest(SCRATCH / table), _newest(area)
    copies = [
        _copy(path, area / key)
        for key, path in here.items()
        if not _has_ended(table, key)
        and (key not in carried or _epoch(carried[key]) < _epoch(path))
    ]
    carried |= {path.parent.relative_to(area): path for path in copies}
    for folder in {path.parent for path in area.glob("**/epoch-*") if _is_inside(path, area)}:
        key = folder.relative_to(area)
        if _has_ended(table, key):
            shutil.rmtree(folder)
        elif key in carried:
            for path in folder.glob("epoch-*"):
                if path.stem != carried[key].stem and not path.is_dir():
                    path.unlink()
    return copies


def _has_ended(table: str, key: Path) -> bool:
    return Path("models", table, key.parent).is_dir()


def restore(table: str) -> list[Path]:
    """Copy carried checkpoints to where trainings look for them.

    Damaged checkpoints are named on stderr.

    Returns:
        The copies.
    """
    here = _newest(SCRATCH / table)
    return [
        _copy(path, SCRATCH / table / key)
        for key, path in _newest(CARRIED / table).items()
        if key not in here or _epoch(here[key]) < _epoch(path)
    ]


def _newest(area: Path) -> dict[Path, Path]:
    """The newest intact checkpoint below `area`, for each training and fingerprint."""
    marks = [
        mark
        for mark in area.glob("**/epoch-*.sha256")
        if re.fullmatch(EPOCH, mark.stem) and _is_inside(mark, area)
    ]
    newest = {}
    for mark in sorted(marks, key=_epoch):
        path = mark.with_suffix(".safetensors")
        if _is_intact(mark):
            newest[mark.parent.relative_to(area)] = path
        else:
            _tell(f"{path}: is damaged; refused")
    return newest


def _is_inside(path: Path, area: Path) -> bool:
    """Whether no link on the way leads out of `area`."""
    return path.parent.resolve().is_relative_to(area.resolve())


def _epoch(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def _is_intact(mark: Path) -> bool:
    try:
        return mark.is_file() and mark.read_text() == sha256(mark.with_suffix(".safetensors"))
    except (OSError, ValueError):
        return False


def _copy(path: Path, folder: Path) -> Path:
    """Copy a checkpoint and, after it, the checksum that makes it count.

    Raises:
        UserError: the folder cannot be written, or lies elsewhere through a link.
    """
    top = Path(folder.parts[0], folder.parts[1])
    if not folder.resolve().is_relative_to(top.resolve()):
        raise UserError(f"{folder}: is or lies in a link that leads out of {top}")
    for each in (path, path.with_suffix(".sha256")):
        write_bytes(folder / each.name, each.read_bytes())
    return folder / path.name


def _tell(message: str) -> None:
    print(one_line(message), file=sys.stderr)


if __name__ == "__main__":
    run(main)
