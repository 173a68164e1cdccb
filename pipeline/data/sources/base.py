"""The interface of every source of images, and the decoding of its images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import joblib
import numpy as np
from PIL import Image
from tqdm import tqdm
from typing_extensions import override

from pipeline.data.encoded import FILES_PER_BLOCK, Encoded, Reader
from pipeline.data.images import fit, load_image
from pipeline.errors import UserError

Result = TypeVar("Result")


class Samples(ABC):
    """Labelled images that are decoded on demand.

    Attributes:
        labels: int64 (N,), indices into the classes of the source.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels.astype(np.int64)

    def decode(self, indices: np.ndarray, size: int) -> np.ndarray:
        """Images at `indices`, in that order, as uint8 (N, 3, size, size).

        Raises:
            UserError: an image cannot be decoded, or memory cannot hold all images.
        """
        try:
            images = np.empty((len(indices), 3, size, size), np.uint8)
        except MemoryError:
            raise UserError(
                f"data.image_size is {size}: {len(indices)} images of it take "
                f"{3 * size**2 * len(indices) / 2**30:.0f} GiB, more than there is memory; lower "
                "it, set data.limit, or add the section streaming"
            ) from None

        def decode_block(places: np.ndarray) -> None:
            for place, image in self.load(indices[places]):
                images[places[place]] = fit(image, size)

        for _ in in_threads(decode_block, self._blocks(indices)):
            pass
        return images

    @abstractmethod
    def _blocks(self, indices: np.ndarray) -> np.ndarray:
        """Number of the block of each index: a thread loads one block at a time."""

    @abstractmethod
    def load(self, indices: np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        """Yield each place in `indices`, in any order, and its image (mode `L` or `RGB`)."""


class PixelSamples(Samples):
    """Images that are in memory as pixels, uint8 (N, H, W) or (N, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        super().__init__(labels)
        self._pixels = pixels

    @override
    def _blocks(self, indices: np.ndarray) -> np.ndarray:
        return np.arange(len(indices)) // FILES_PER_BLOCK

    @override
    def load(self, indices: np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        return ((place, Image.fromarray(self._pixels[i])) for place, i in enumerate(indices))


class EncodedSamples(Samples):
    """Images that are encoded in files or shards.

    Attributes:
        encoded: where they are.
    """

    def __init__(self, encoded: Encoded, labels: np.ndarray) -> None:
        super().__init__(labels)
        self.encoded = encoded

    @override
    def _blocks(self, indices: np.ndarray) -> np.ndarray:
        return self.encoded.take(indices).blocks()

    @override
    def load(self, indices: np.ndarray) -> Iterator[tuple[int, Image.Image]]:
        reader = Reader(self.encoded)
        for place in self.encoded.reading_order(indices):
            index = indices[place]
            yield place, load_image(self.encoded.full_name(index), reader.read(index))


def in_threads(
    work: Callable[[np.ndarray], Result], blocks: np.ndarray, description: str | None = None
) -> Iterator[Result]:
    """Do the work of the blocks with one thread for each CPU, and show the progress.

    Args:
        work: called with the places of a block, int64.
        blocks: int64 (N,), number of the block of each place, ascending.
        description: title of the progress bar.

    Yields:
        What `work` returned, in the order of the blocks.
    """
    places = np.split(np.arange(len(blocks)), np.flatnonzero(np.diff(blocks)) + 1)
    with (
        ThreadPoolExecutor(joblib.cpu_count()) as threads,  # joblib knows a container's quota
        tqdm(total=len(blocks), desc=description, unit="images", disable=None) as progress,
    ):
        for block, result in zip(places, threads.map(work, places), strict=True):
            yield result
            progress.update(len(block))


@dataclass(frozen=True)
class Source:
    """A data set before preparation.

    Attributes:
        classes: names, in the order of the labels.
        train: training images.
        validation: validation images where the data set brings its own, else None.
        test: test images.
        left_out: names of files that lie among the images and are none.
        describe: computes `origin`; may read every byte.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples
    describe: Callable[[], dict[str, Any]]
    validation: Samples | None = None
    left_out: Sequence[str] = ()

    @property
    def origin(self) -> dict[str, Any]:
        """Where the images come from, as JSON values.

        Package and version, or the names of files with their SHA-256.

        Raises:
            UserError: a file cannot be read.
        """
        try:
            return self.describe()
        except OSError as error:
            raise UserError(f"{error.filename}: could not be read: {error.strerror}") from error


def existing_folder(location: Path) -> Path:
    """Return `location` if it is a folder, else raise a UserError that names it."""
    if not location.is_dir():
        raise UserError(f"{location}: no such folder (data.location)")
    return location


def check_unicode(folder: Path, name: str) -> None:
    """Refuse a file in `folder` whose `name` cannot be listed in JSON or Parquet."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{folder}: the file name {name!a} is not UTF-8; rename it") from None
