"""Decoding of encoded images into batches of crops of one size."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from pipeline.data.crops import Crop
from pipeline.data.encoded import Encoded, Reader
from pipeline.data.images import load_image
from pipeline.errors import UserError


class Selection(NamedTuple):
    """The images of a batch.

    Attributes:
        indices: int64 (B,).
        seeds: int64 (B,), seed of each image's random numbers; None: there are none to draw.
    """

    indices: np.ndarray
    seeds: np.ndarray | None


class Decoder(Dataset, ABC):
    """Decodes and crops batches: `read` runs in the workers, `to_device` in the training.

    Args:
        encoded: where the images are.
        sizes: size of each image in bytes when it was indexed.
        crop: crop that brings the images to one size.
        size: height and width in pixels.
    """

    def __init__(self, encoded: Encoded, sizes: np.ndarray, crop: Crop, size: int) -> None:
        self.encoded = encoded
        self._sizes = sizes
        self._crop = crop
        self._shape = (3, size, size)

    def __getitem__(self, selection: Selection) -> Any:
        """Call `read` in a worker; return a UserError, as DataLoader would wrap a raised one."""
        try:
            with torch.random.fork_rng(devices=[]):
                return self.read(selection)
        except UserError as error:
            return error

    @abstractmethod
    def read(self, selection: Selection) -> Any:
        """Read the images of a batch and do what can be done in a worker.

        Raises:
            UserError: an image cannot be read or decoded, or changed since it was indexed.
        """

    @abstractmethod
    def to_device(self, item: Any, device: torch.device) -> Tensor:
        """Turn what `read` returned into images of the batch, uint8 (B, 3, size, size) on `device`.

        Raises:
            UserError: an image cannot be decoded.
        """

    def _contents(self, selection: Selection) -> Iterator[tuple[int, str, bytes]]:
        """Yield place in the batch, name and bytes of each image, and seed torch for that image."""
        indices, seeds = selection
        reader = Reader(self.encoded)
        for place in self.encoded.reading_order(indices):
            index = indices[place]
            name, content = self.encoded.full_name(index), reader.read(index)
            if len(content) != self._sizes[index]:
                raise UserError(
                    f"{name}: has {len(content)} bytes, had {self._sizes[index]} when it was "
                    "indexed; run the stage prepare again"
                )
            if seeds is not None:
                torch.default_generator.manual_seed(int(seeds[place]))
            yield place, name, content

    def _decoded(self, name: str, content: bytes) -> Tensor:
        """An image of any format, decoded by Pillow and cropped."""
        return self._crop(load_image(name, content).convert("RGB"))


class PillowDecoder(Decoder):
    """Decodes whole batches in the workers."""

    @override
    def read(self, selection: Selection) -> Tensor:
        images = torch.empty((len(selection.indices), *self._shape), dtype=torch.uint8)
        for place, name, content in self._contents(selection):
            images[place] = self._decoded(name, content)
        return images

    @override
    def to_device(self, item: Tensor, device: torch.device) -> Tensor:
        return item.to(device, non_blocking=True)
