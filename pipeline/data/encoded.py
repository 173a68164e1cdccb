"""Encoded images where they are: files of their own, or rows of Parquet files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError

IMAGE_COLUMNS = ("img", "image")
LARGEST = 2**28
"""Bytes of a row group."""
FILES = 256
"""Files of a block; one of rows is a row group."""


@dataclass(frozen=True)
class Encoded:
    """N encoded images, read on demand.

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

    def name(self, index: int) -> str:
        """What a message calls the image, below `root`."""
        path = self.paths[index].as_py()
        return path if self.rows[index] < 0 else f"{path} row {self.rows[index]}"

    def take(self, indices: np.ndarray) -> "Encoded":
        """The images at these indices, in that order."""
        return Encoded(
            self.root, self.paths.take(pa.array(indices)), self.rows[indices], self.groups[indices]
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> Iterator[tuple[int, bytes | UserError]]:
        """Bytes of the images at `indices`, each row group being read once.

        Yields:
            Place in `indices` (each comes once, in any order), and the bytes, or why there are
            none.

        Raises:
            UserError: a Parquet file is missing or damaged, or has other row groups than before.
        """
        in_groups: dict[tuple[str, int], list[int]] = {}
        for place, index in enumerate(indices):
            path = self.paths[index].as_py()
            if self.rows[index] < 0:
                yield place, _content(self.root / path)
            else:
                in_groups.setdefault((path, int(self.groups[index])), []).append(place)
        for (path, group), places in in_groups.items():
            first, images = _row_group(self.root / path, group)
            for place in places:
                index = indices[place]
                row = int(self.rows[index]) - first
                if not 0 <= row < len(images):
                    raise _changed(self.root / path)
                content = images[row].as_py()
                name = f"{self.root}/{self.name(index)}"
                yield place, content or UserError(f"{name}: has no image bytes")

    def check_row_groups(self) -> None:
        """Refuse what does not fit into memory, once for each process that reads.

        Raises:
            UserError: a row group has more than LARGEST bytes, or a Parquet file is damaged.
        """
        for name in pc.unique(self.paths.filter(pa.array(self.rows >= 0))).to_pylist():
            path = self.root / name
            try:
                metadata = pq.read_metadata(path)
            except (pa.ArrowException, OSError) as error:
                raise damaged(path, error) from error
            groups = range(metadata.num_row_groups)
            largest = max(metadata.row_group(each).total_byte_size for each in groups)
            if largest > LARGEST:
                raise UserError(
                    f"{path}: a row group has {largest >> 20} MiB and is read whole for any of its "
                    f"images, allowed are {LARGEST >> 20}; write the shard again with "
                    "pyarrow.parquet.write_table(table, path, row_group_size=100)"
                )

    def blocks(self) -> np.ndarray:
        """Number of the block of each image, int64 (N,): blocks are best read as a whole."""
        count = len(self.rows)
        if not count or self.rows[0] < 0:
            return np.arange(count) // FILES
        files = self.paths.dictionary_encode().indices.to_numpy()
        changes = (np.diff(files) != 0) | (np.diff(self.groups) != 0)
        return np.concatenate([[0], np.cumsum(changes)])


def image_column(path: Path, schema: pa.Schema) -> str:
    """Name of the column of images; a UserError if a shard has none."""
    return known_column(path, schema, IMAGE_COLUMNS)


def known_column(path: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    """The first of `names` that a shard has; a UserError if it has none."""
    for name in names:
        if name in schema.names:
            return name
    raise UserError(f"{path}: has no column {' or '.join(names)} (found {', '.join(schema.names)})")


def damaged(path: Path, error: Exception) -> UserError:
    """What to raise when Arrow cannot read a shard."""
    return UserError(f"{path}: is not a whole Parquet file ({' '.join(str(error).split())})")


def _changed(path: Path) -> UserError:
    return UserError(f"{path}: is not the shard that was indexed; run the stage prepare again")


def _content(path: Path) -> bytes | UserError:
    try:
        return path.read_bytes()
    except OSError as error:
        return UserError(f"{path}: could not be read: {error.strerror}")


def _row_group(path: Path, group: int) -> tuple[int, pa.ChunkedArray]:
    """Number of its first row, and the bytes of its images."""
    try:
        with pq.ParquetFile(path) as file:
            if group >= file.metadata.num_row_groups:
                raise _changed(path)
            first = sum(file.metadata.row_group(each).num_rows for each in range(group))
            column = image_column(path, file.schema_arrow)
            table = file.read_row_group(group, columns=[f"{column}.bytes"], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    return first, table.flatten().column(0)
