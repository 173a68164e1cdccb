"""Read and write files: writes are atomic (a temporary file, then a rename) and deterministic."""

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from pipeline.errors import UserError

if TYPE_CHECKING:  # both take long to import, and a stage may need neither
    import pandas as pd
    import torch


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` only if the block succeeds.

    A reader sees the old file or the whole new one, never a part of it, even after a power cut.
    What a killed process left of an earlier attempt is removed. The umask decides who may read the
    file. A pipe or a device at `path` is replaced too; `check_writable` refuses one that a user
    names.

    Raises:
        UserError: the file could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            left.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        temporary.touch(exist_ok=False)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: could not be written: {error.strerror or error}") from error


def check_replaceable(folder: Path, mark: str) -> None:
    """Make sure that replacing `folder` loses nothing but an older folder of its kind.

    Args:
        folder: Folder to be written; may be missing.
        mark: A file that every folder of its kind has.

    Raises:
        UserError: `folder` is a file or a symbolic link, holds a folder, holds files but no `mark`,
            or cannot be read.
    """
    try:
        if folder.is_symlink():
            raise UserError(f"{folder}: is a symbolic link; name the folder it leads to")
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is a file; name a folder to be written")
        found = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise UserError(f"{folder}: could not be read: {error.strerror}") from error
    other = [path.name for path in found if path.is_dir()]
    if found and not (folder / mark).is_file():
        other = [path.name for path in found]
    if other:
        raise UserError(
            f"{folder}: holds {other[0]}, which no stage puts there, and would be replaced whole; "
            "name another folder"
        )


def check_writable(folder: Path, *names: str) -> None:
    """Make sure that files can be written into `folder`, which may be missing; leave nothing.

    Args:
        folder: Folder to be written to.
        names: Names of the files to be written or replaced there.

    Raises:
        UserError: nothing can be written there, or one of `names` is too long or is something else
            than a regular file.
    """
    place = folder
    try:
        existing = next(
            path for path in (folder, *folder.parents) if path.exists() or path.is_symlink()
        )
        with tempfile.TemporaryFile(dir=existing):
            pass
        for place in (folder / name for name in names):
            if place.is_dir():
                raise UserError(f"{place}: could not be written: it is a folder")
            if place.exists() and not place.is_file():
                raise UserError(f"{place}: could not be written: it is no regular file")
    except OSError as error:
        raise UserError(f"{place}: could not be written: {error.strerror}") from error


@contextlib.contextmanager
def atomic_folder(folder: Path, mark: str) -> Iterator[Path]:
    """Yield a path to build a folder at; it takes the place of `folder` if the block succeeds.

    Whatever happens, `folder` is the old one, the new one, or missing, but never a mixture of both.

    Args:
        folder: Folder to be written or replaced.
        mark: A file that every folder of its kind has, see `check_replaceable`.

    Raises:
        UserError: as `check_replaceable`, or the folder could not be written.
    """
    check_replaceable(folder, mark)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.part"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".part", dir=folder.parent
        ) as temporary:
            built = Path(temporary) / folder.name
            yield built
            if folder.exists():
                shutil.rmtree(folder)
            built.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: could not be written: {error.strerror or error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, atomically."""
    try:
        encoded = content.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair is no character
        raise UserError(f"{path}: could not be written: {error}") from error
    write_bytes(path, encoded)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON in the given key order; NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write `table` as CSV, without its index and with nine significant digits for floats."""
    write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write `array` as .npy, without pickle."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def write_tensors(path: Path, tensors: "dict[str, torch.Tensor]") -> None:
    """Write named tensors of any dtype as safetensors, on the CPU and contiguous."""
    from safetensors.torch import save  # noqa: PLC0415

    write_bytes(
        path,
        save(
            {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        ),
    )


@contextlib.contextmanager
def reading(path: Path, kind: str, *malformed: type[Exception]) -> Iterator[None]:
    """Turn whatever goes wrong while the block reads `path` into a UserError that names the file.

    Args:
        path: File that the block reads.
        kind: What the file has to be, such as "valid JSON".
        malformed: Exceptions that the reader raises if it is not.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is no file")
        path.open("rb").close()  # a reader may not tell why it failed
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: could not be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError(f"{path}: needs more memory than there is ({error})") from error
    except malformed as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is not {kind} ({reason})") from error


def read_text(path: Path) -> str:
    """Read a file of UTF-8 text.

    Raises:
        UserError: the file is missing, unreadable or not UTF-8.
    """
    with reading(path, "UTF-8 text", UnicodeDecodeError):
        return path.read_bytes().decode()


def read_json(path: Path) -> Any:
    """Read JSON as `write_json` writes it: numbers are finite, and no key is given twice.

    Raises:
        UserError: the file is missing, unreadable, malformed or nested too deeply.
    """
    with reading(path, "valid JSON", ValueError, RecursionError):
        text = path.read_bytes().decode()
        content = json.loads(
            text, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique
        )
        if "\\u" in text:  # half of a surrogate pair is no character, and cannot be written
            json.dumps(content, ensure_ascii=False).encode()
        return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name!r} is given twice")
    return content


def read_array(path: Path) -> np.ndarray:
    """Read an array from .npy.

    Raises:
        UserError: the file is missing, unreadable or malformed, or holds a pickle.
    """
    # NumPy parses the header as Python, which can raise almost anything
    with reading(path, "a readable .npy array", Exception), path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read named tensors from safetensors onto the CPU.

    Raises:
        UserError: the file is missing, unreadable or malformed.
    """
    with (
        reading(path, "a readable safetensors file", SafetensorError),
        safe_open(path, framework="pt") as file,
    ):
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a socket: reading one may never end.

    Raises:
        OSError: `path` is not a regular file, or is missing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits.

    Raises:
        OSError: the file cannot be read, or is not a regular one.
    """
    check_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_lines(sums: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of the lines `sha256sum` would print, sorted by name.

    Args:
        sums: names and their SHA-256.
    """
    lines = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(sums))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
