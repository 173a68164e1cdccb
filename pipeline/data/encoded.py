"""Encoded images in place: each is a file of its own, or a row of a Parquet file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import check_regular
from pipeline.data.images import UnreadableImageError
from pipeline.errors import UserError

IMAGE_COLUMNS = ("img", "image")
MAX_ROW_GROUP_BYTES = 2**28
FILES_PER_BLOCK = 256


@dataclass(frozen=True)
class Encoded:
    """N encoded images, read on demand by a `Reader`.

    Attributes:
        root: folder of the paths.
        paths: strings (N,), relative to `root`.
        rows: int64 (N,), row in a Parquet file; -1: the file is the image.
        groups: int64 (N,), row group of that row; -1 for a file.
    """

    root: Path
    paths: pa.StringArray
    rows: np.ndarray
    groups: np.ndarray

    @property
    def are_files(self) -> bool:
        """Whether each image is a file of its own, not a row: all are, or none is."""
        return not (self.rows[:1] >= 0).any()

    def name(self, index: int) -> str:
        """Name of the image in lists: its place below `root`."""
        path = self.paths[index].as_py()
        return path if self.rows[index] < 0 else f"{path} row {self.rows[index]}"

    def full_name(self, index: int) -> str:
        """Name of the image in error messages."""
        return f"{self.root}/{self.name(index)}"

    def take(self, indices: np.ndarray) -> "Encoded":
        """The images at these indices, in that order."""
        return Encoded(
            self.root, self.paths.take(pa.array(indices)), self.rows[indices], self.groups[indices]
        )

    def reading_order(self, indices: np.ndarray) -> np.ndarray:
        """Places in `indices`, int64 (len(indices),), in an order that reads no row group twice."""
        if self.are_files:
            return np.arange(len(indices))
        shards = self.paths.take(pa.array(indices)).dictionary_encode().indices.to_numpy()
        return np.lexsort((self.groups[indices], shards))

    def check_row_groups(self) -> None:
        """Refuse row groups so large that memory may not hold one for each process that reads.

        Raises:
            UserError: a row group has more than MAX_ROW_GROUP_BYTES, or a Parquet file is damaged.
        """
        for name in pc.unique(self.paths.filter(pa.array(self.rows >= 0))).to_pylist():
            path = self.root / name
            with open_shard(path) as shard:
                metadata = shard.metadata
            groups = range(metadata.num_row_groups)
            largest = max(metadata.row_group(each).total_byte_size for each in groups)
            if largest > MAX_ROW_GROUP_BYTES:
                raise UserError(
                    f"{path}: a row group has {largest >> 20} MiB and is read whole for any of its "
                    f"images, allowed are {MAX_ROW_GROUP_BYTES >> 20}; write the shard again with "
                    "pyarrow.parquet.write_table(table, path, row_group_size=100)"
                )

    def blocks(self) -> np.ndarray:
        """Number of the block of each image, int64 (N,): blocks are best read whole.

        A block is a row group, or FILES_PER_BLOCK files.
        """
        if self.are_files:
            return np.arange(len(self.rows)) // FILES_PER_BLOCK
        shards = self.paths.dictionary_encode().indices.to_numpy()
        changes = (np.diff(shards) != 0) | (np.diff(self.groups) != 0)
        return np.concatenate([[0], np.cumsum(changes)])


class Reader:
    """Reads encoded images one by one, and keeps the row group that it read last."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded
        self._kept: tuple[str, int] | None = None
        self._first_row = 0
        self._images = pa.chunked_array([], pa.binary())

    def read(self, index: int) -> bytes:
        """The bytes of an image.

        Raises:
            UnreadableImageError: the image has no bytes, or its file cannot be read.
            UserError: a Parquet file is missing or damaged, or has other row groups than before.
        """
        encoded = self._encoded
        name = encoded.paths[index].as_py()
        path, row, group = encoded.root / name, int(encoded.rows[index]), int(encoded.groups[index])
        if row < 0:
            return _content(path)
        if self._kept != (name, group):
            self._first_row, self._images = _row_group(path, group)
            self._kept = name, group
        place = row - self._first_row
        if not 0 <= place < len(self._images):
            raise _changed(path)
        content = self._images[place].as_py()
        if not content:
            raise UnreadableImageError(f"{encoded.full_name(index)}: has no image bytes")
        return content


@contextmanager
def open_shard(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file.

    Raises:
        UserError: the file cannot be read, now or later in the block, or does not fit into memory.
    """
    try:
        check_regular(path)
        with pq.ParquetFile(path) as shard:
            yield shard
    except MemoryError as error:
        raise UserError(f"{path}: needs more memory than there is") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is not a whole Parquet file ({reason})") from error


def image_column(path: Path, schema: pa.Schema) -> str:
    """Name of the column of images.

    Raises:
        UserError: the shard has no such column, or one of another type.
    """
    name = known_column(path, schema, IMAGE_COLUMNS)
    kind = schema.field(name).type
    place = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    if place < 0 or kind.field(place).type not in (pa.binary(), pa.large_binary()):
        raise UserError(f"{path}: column {name} is {kind}, not a struct with bytes")
    return name


def known_column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    """The first of `names` that a shard has as a column.

    Raises:
        UserError: the shard has none of them, or has it twice.
    """
    for name in names:
        count = schema.names.count(name)
        if count > 1:
            raise UserError(f"{path}: has {count} columns {name}")
        if count:
            return name
    raise UserError(f"{path}: has no column {' or '.join(names)} (found {', '.join(schema.names)})")


def _changed(path: Path) -> UserError:
    return UserError(f"{path}: is not the shard that was indexed; run the stage prepare again")


def _content(path: Path) -> bytes:
    try:
        check_regular(path)
        return path.read_bytes()
    except MemoryError as error:
        raise UserError(f"{path}: needs more memory than there is") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnreadableImageError(f"{path}: could not be read: {reason}") from error


def _row_group(path: Path, group: int) -> tuple[int, pa.ChunkedArray]:
    """Read a row group: the number of its first row, and the bytes of its images."""
    with open_shard(path) as shard:
        if group >= shard.metadata.num_row_groups:
            raise _changed(path)
        first = sum(shard.metadata.row_group(each).num_rows for each in range(group))
        column = image_column(path, shard.schema_arrow)
        table = shard.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
    return first, table.flatten().column(0)
