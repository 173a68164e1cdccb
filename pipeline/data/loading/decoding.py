"""Encoded images to batches of equal crops."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.data.crops import Crop
from pipeline.data.encoded import Encoded
from pipeline.data.images import load_image
from pipeline.errors import UserError

Task = tuple[np.ndarray, np.ndarray | None]
"""Indices of the images of a batch, and the seed of each one's random numbers."""


class Decoder(Dataset, ABC):
    """Decodes and crops batches: its items in the workers, the rest in the training.

    Args:
        encoded: where the images are.
        sizes: of each in bytes, when it was indexed.
        crop: what makes them equal in size.
        size: height and width in pixels.
    """

    def __init__(self, encoded: Encoded, sizes: np.ndarray, crop: Crop, size: int) -> None:
        self.encoded = encoded
        self._sizes = sizes
        self._crop = crop
        self._shape = (3, size, size)

    def __getitem__(self, task: Task) -> Any:
        """What a worker makes of a batch; a UserError is returned, as it would dress it up."""
        try:
            with torch.random.fork_rng(devices=[]):
                return self._item(task)
        except UserError as error:
            return error

    @abstractmethod
    def _item(self, task: Task) -> Any: ...

    @abstractmethod
    def to_device(self, item: Any, device: torch.device) -> Tensor:
        """The images of a batch, uint8 (B, 3, size, size) on `device`.

        Raises:
            UserError: an image cannot be decoded.
        """

    def _contents(self, task: Task) -> Iterator[tuple[int, str, bytes | UserError]]:
        """Place in the batch, name and bytes of each image, its random numbers being next."""
        indices, seeds = task
        for place, content in self.encoded.read(indices):
            index = int(indices[place])
            name = self.name(index)
            if isinstance(content, bytes) and len(content) != self._sizes[index]:
                raise UserError(
                    f"{name}: has {len(content)} bytes, had {self._sizes[index]} when it was "
                    "indexed; run the stage prepare again"
                )
            if seeds is not None:
                torch.default_generator.manual_seed(int(seeds[place]))
            yield place, name, content

    def name(self, index: int) -> str:
        """What a message calls an image."""
        return f"{self.encoded.root}/{self.encoded.name(index)}"

    def _decoded(self, name: str, content: bytes | UserError) -> Tensor:
        """An image of any format, decoded by Pillow and cropped."""
        return self._crop(load_image(name, content).convert("RGB"))


class PillowDecoder(Decoder):
    """Decodes all of a batch in a worker."""

    def _item(self, task: Task) -> Tensor:
        images = torch.empty((len(task[0]), *self._shape), dtype=torch.uint8)
        for place, name, content in self._contents(task):
            images[place] = self._decoded(name, content)
        return images

    def to_device(self, item: Tensor, device: torch.device) -> Tensor:
        """See `Decoder`."""
        return item.to(device, non_blocking=True)
