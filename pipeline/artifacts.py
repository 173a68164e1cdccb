"""Writing: atomic (a temporary file, then a rename) and with deterministic bytes."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
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

    A reader sees the old file or the whole new one, never a part, also after a power cut. What a
    killed process left of an earlier attempt is removed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: could not be written: {error.strerror or error}") from error


def check_replaceable(folder: Path, mark: str) -> None:
    """Make sure that replacing `folder` loses nothing but an older one of its kind.

    Args:
        folder: To be written; may be missing.
        mark: A file that every folder of its kind has.

    Raises:
        UserError: it is a file, holds a folder, or files but no `mark`.
    """
    if folder.is_file():
        raise UserError(f"{folder}: is a file; name a folder to be written")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    other = [path.name for path in found if path.is_dir()]
    if found and not (folder / mark).is_file():
        other = [path.name for path in found]
    if other:
        raise UserError(
            f"{folder}: holds {other[0]}, which no stage puts there, and would be replaced whole; "
            "name another folder"
        )


@contextlib.contextmanager
def atomic_folder(folder: Path, mark: str) -> Iterator[Path]:
    """Yield a path to build a folder at; it takes the place of `folder` if the block succeeds.

    Whatever happens, `folder` is the old one, the new one or missing, but never a mixture.

    Args:
        folder: To be written, or replaced.
        mark: A file that every folder of its kind has, see `check_replaceable`.
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
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON in the given key order; NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write `table` without its index; floats with nine significant digits."""
    write_text(path, table.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write `array` as .npy (no pickle)."""
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


def read_json(path: Path) -> Any:
    """Read JSON; a missing or malformed file is a UserError that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid JSON ({error})") from error


def read_array(path: Path) -> np.ndarray:
    """Read .npy; a missing or malformed file is a UserError that names it."""
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: is not a readable .npy array ({error})") from error


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Read safetensors onto the CPU; a missing or malformed file is a UserError that names it."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except SafetensorError as error:
        raise UserError(f"{path}: is not a readable safetensors file ({error})") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
