"""Checkpoints of an unfinished training, in a scratch area that DVC does not wipe.

`.scratch/<run>/<fingerprint>/epoch-0007.safetensors` holds the tensors and, in its header, the
rest as JSON. The `.sha256` file beside it is written last, and a checkpoint without one does not
count. The fingerprint covers parameters, code and inputs, so that a changed run starts fresh. No
pickle is read or written.

DVC's queued experiments run in folders of their own, but share the scratch area of the repository.
Each fingerprint therefore has a lock there, and each folder has one for the run it would write.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from pipeline.artifacts import write_bytes, write_text
from pipeline.distributed import World
from pipeline.errors import UserError, one_line
from pipeline.programs import program

CHECKPOINTS_KEPT = 2
"""How many checkpoints are kept: the newest, and one to fall back on."""
ABANDONED_KEPT = 3
"""How many abandoned configurations of a run keep their checkpoints."""


def fingerprint(**inputs: Any) -> str:
    """Twelve hexadecimal digits that change with the code, the torch version or any input."""
    inputs |= {"torch": torch.__version__, "program": program("pipeline.training.phases")}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]


class Scratch:
    """The checkpoints of one run. Use it as a context manager, which holds the run's locks.

    Args:
        run: Name of the training, such as `digits/resnet20-complete-1`.
        key: `fingerprint` of everything the result depends on.
        world: The processes that share the training; the main one holds the locks.

    Raises:
        UserError: on entering, another process trains the same run in this folder or from the
            same checkpoints, or the area is not writable.
    """

    def __init__(self, run: str, key: str, world: World) -> None:
        self._root = Path(os.environ.get("DVC_ROOT", "."))
        self._run = self._root / ".scratch" / run
        self._folder = self._run / key
        self._world = world
        here = Path(".scratch") / f"{run}.lock"
        self._lock = filelock.FileLock(_lock_of(self._folder))
        self._locks = [filelock.FileLock(here), self._lock]

    def __enter__(self) -> "Scratch":
        if not self._world.is_main:
            return self
        try:
            for lock in self._locks:
                Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
        except filelock.Timeout:
            self.__exit__()
            raise UserError(
                f"{self._run}: another process is training this run; wait for it or stop it"
            ) from None
        except OSError as error:
            raise UserError(f"{self._run}: could not be locked: {error.strerror}") from error
        self._remove(self._others()[ABANDONED_KEPT:])
        return self

    def __exit__(self, *_: object) -> None:
        for lock in self._locks:
            lock.release()

    def save(self, epoch: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        """Save the state after 1-based `epoch`, then remove all older checkpoints but one."""
        content = save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            {"state": json.dumps(state)},
        )
        path = self._folder / f"epoch-{epoch:04d}.safetensors"
        write_bytes(path, content)
        write_text(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest())
        for old in self._saved()[:-CHECKPOINTS_KEPT]:
            with contextlib.suppress(OSError):  # such as a folder, which no training made
                old.with_suffix(".sha256").unlink()
                old.unlink()

    def intact(self) -> Iterator[tuple[Path, bytes]]:
        """Yield path and content of each checkpoint that matches its checksum, the newest first.

        The content is for `read_checkpoint`. A damaged checkpoint is named on stderr.
        """
        for path in reversed(self._saved()):
            content = _read_intact(path)
            if content is None:
                print(one_line(f"{path}: is damaged; refused"), file=sys.stderr)
            else:
                yield path, content

    def clear(self) -> None:
        """Remove the checkpoints, and those of the run's other fingerprints that are not in use.

        A queued experiment leaves the others, which may have been stopped and may go on later.
        """
        self._remove([self._folder, *self._others()])
        with contextlib.suppress(OSError):  # others are left
            self._run.rmdir()

    def _others(self) -> list[Path]:
        """Folders of the run's other fingerprints, latest first; none in a queued experiment."""
        if self._root.resolve() != Path.cwd():
            return []
        folders = {path.with_suffix("") for path in self._run.iterdir()} - {self._folder}
        return sorted(folders, key=_modified, reverse=True)

    def _remove(self, folders: Iterable[Path]) -> None:
        """Remove those of `folders` that no process uses."""
        for folder in folders:
            lock = self._lock if folder == self._folder else filelock.FileLock(_lock_of(folder))
            with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
                _lock_of(folder).unlink(missing_ok=True)

    def _saved(self) -> list[Path]:
        """The saved checkpoints, oldest first; files with other names are not ours."""
        by_epoch = {
            int(match[1]): mark.with_suffix(".safetensors")
            for mark in self._folder.glob("epoch-*.sha256")
            if (match := re.fullmatch(r"epoch-([0-9]{4,10})\.sha256", mark.name))
        }
        return [by_epoch[epoch] for epoch in sorted(by_epoch) if by_epoch[epoch].exists()]


def _read_intact(path: Path) -> bytes | None:
    """The content of a file; None if it differs from its checksum or either cannot be read."""
    mark = path.with_suffix(".sha256")
    with contextlib.suppress(OSError):
        if path.is_file() and mark.is_file():
            content = path.read_bytes()
            if mark.read_bytes() == hashlib.sha256(content).hexdigest().encode():
                return content
    return None


def read_checkpoint(content: bytes, source: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read tensors, onto the CPU, and state from content that `Scratch.intact` yields.

    Raises:
        UserError: it is not what `Scratch.save` writes; the message calls it `source`.
    """
    try:
        tensors = load(content)
        length = int.from_bytes(content[:8], "little")
        state = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["state"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{source}: is no checkpoint ({error})") from error
    if not isinstance(state, dict):
        raise UserError(f"{source}: is no checkpoint (its state is no mapping)")
    return tensors, state


def _modified(folder: Path) -> float:
    """Last modification of the folder, or of its lock if the folder is gone; 0 if both are gone."""
    for path in (folder, _lock_of(folder)):
        with contextlib.suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
