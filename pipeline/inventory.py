"""An inventory of a folder of images, for which only files that changed are read again."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import joblib
from pydantic import TypeAdapter

from pipeline.artifacts import digest_of_lines, sha256, write_text
from pipeline.data.descent import SPLITS, why_not
from pipeline.data.images import has_image_suffix
from pipeline.errors import UserError

_MEMORY = TypeAdapter(dict[str, tuple[int, int, int, str]])


@dataclass(frozen=True)
class Inventory:
    """The images or shards in a folder.

    Attributes:
        files: number of files.
        bytes: their bytes, all together.
        sha256: SHA-256 of what `sha256sum` prints for all files, sorted by path.
        changed: files whose bytes differ from those of the last inventory.
        added: files that the last inventory did not have.
        removed: files that only the last inventory had.
    """

    files: int
    bytes: int
    sha256: str
    changed: list[str]
    added: list[str]
    removed: list[str]


def take_inventory(folder: Path, source: str, memory: Path) -> Inventory:
    """List the images or shards that a source reads from `folder`.

    A file is read only if its size or one of its times differs from the last inventory.

    Args:
        folder: folder of train/, val/ and test/, or of shards.
        source: `folders` or `shards`.
        memory: file that keeps the last inventory of this machine; it is replaced.

    Raises:
        UserError: a file cannot be read, a link leads to a folder above it, or a folder lies too
            deep.
    """
    before = _remembered(memory)
    try:
        stamps = dict(sorted(_files(folder, source)))
        unread = [name for name, stamp in stamps.items() if before.get(name, [])[:3] != stamp]
        with ThreadPoolExecutor(joblib.cpu_count()) as threads:  # knows a container's quota
            sums = threads.map(sha256, (folder / name for name in unread))
            read = dict(zip(unread, sums, strict=True))
    except OSError as error:
        raise UserError(f"{error.filename}: could not be read: {error.strerror}") from error
    checksums = {name: read.get(name) or before[name][3] for name in stamps}
    now = {name: [*stamp, checksums[name]] for name, stamp in stamps.items()}
    if now != before:
        write_text(memory, json.dumps(now))
    return Inventory(
        files=len(stamps),
        bytes=sum(size for size, *_ in stamps.values()),
        sha256=digest_of_lines(checksums.items()),
        changed=[name for name in read if name in before and read[name] != before[name][3]],
        added=[name for name in now if name not in before],
        removed=[name for name in before if name not in now],
    )


def _remembered(memory: Path) -> dict[str, list]:
    """Size, two times and SHA-256 of each file; empty if `memory` is missing or malformed."""
    if not memory.is_file():  # reading a pipe or a device may never end
        return {}
    try:
        entries = _MEMORY.validate_python(json.loads(memory.read_text()))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: list(entry) for name, entry in entries.items()}


def _files(folder: Path, source: str) -> Iterator[tuple[str, list[int]]]:
    """Path below `folder`, size and times in ns of each file that the source may read."""
    if source == "shards":
        for path in folder.glob("*.parquet"):
            yield path.name, _stamp(path.stat())
    else:
        for split in SPLITS:
            if (folder / split).is_dir():
                yield from _images(str(folder), f"{split}/", ())


def _images(root: str, below: str, above: tuple[str, ...]) -> Iterator[tuple[str, list[int]]]:
    """The images below a folder that was reached through those `above`, without hidden files."""
    folder = f"{root}/{below}"
    target = os.path.realpath(folder)
    if problem := why_not(target, above):
        raise UserError(f"{folder}: {problem}")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _images(root, f"{below}{entry.name}/", (*above, target))
            elif has_image_suffix(entry.name):
                yield f"{below}{entry.name}", _stamp(entry.stat())


def _stamp(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
