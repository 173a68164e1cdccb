"""What every source of images offers, and the reading of its images."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipeline.data.encoded import Encoded
from pipeline.data.images import fit
from pipeline.errors import UserError

BLOCK = 256
"""Images that one thread decodes at a time."""


@dataclass(frozen=True)
class Samples:
    """Labelled images that are decoded on demand.

    Attributes:
        labels: int64 (N,), indices into the classes of the source.
        load: the image (mode `L` or `RGB`) at an index; raises a UserError that names it.
        encoded: where the images are, if they are encoded somewhere.
    """

    labels: np.ndarray
    load: Callable[[int], Image.Image]
    encoded: Encoded | None = None

    def decode(self, indices: np.ndarray, size: int) -> np.ndarray:
        """Images at `indices`, in that order, as uint8 (N, 3, size, size)."""
        images = np.empty((len(indices), 3, size, size), np.uint8)

        def decode_block(start: int) -> int:
            block = indices[start : start + BLOCK]
            for position, index in enumerate(block, start):
                images[position] = fit(self.load(int(index)), size)
            return len(block)

        with (
            ThreadPoolExecutor(os.cpu_count()) as threads,
            tqdm(total=len(indices), unit="images", disable=None) as progress,
        ):
            for done in threads.map(decode_block, range(0, len(indices), BLOCK)):
                progress.update(done)
        return images


@dataclass(frozen=True)
class Source:
    """A data set before preparation.

    Attributes:
        classes: names, in the order of the labels.
        train: training images.
        validation: validation images where the data set brings its own, else None.
        test: test images.
        describe: see `origin`; may read every byte.
    """

    classes: tuple[str, ...]
    train: Samples
    test: Samples
    describe: Callable[[], dict[str, Any]]
    validation: Samples | None = None

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


def in_memory(pixels: np.ndarray, labels: np.ndarray) -> Samples:
    """Samples from decoded pixels, uint8 (N, H, W) or (N, H, W, 3)."""
    return Samples(labels.astype(np.int64), lambda index: Image.fromarray(pixels[index]))


def existing_folder(location: Path) -> Path:
    """`location` if it is a folder, else a UserError that names it."""
    if not location.is_dir():
        raise UserError(f"{location}: no such folder (data.location)")
    return location


def digest_of_lines(sums: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of the lines `sha256sum` would print, sorted by name.

    Args:
        sums: names and their SHA-256.
    """
    lines = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(sums))
    return hashlib.sha256(lines.encode()).hexdigest()
