"""The crops of streamed images, for training and for evaluation."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from typing_extensions import override


class Cut(NamedTuple):
    """The part of an image that a crop shows, in pixels, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    mirrored: bool


class Crop(ABC):
    """Brings images of any size to one size: it cuts out a part, resizes it, and may mirror it."""

    @abstractmethod
    def draw(self, image: Image.Image) -> Cut:
        """Choose what to cut out of `image`, of which only the size matters."""

    @abstractmethod
    def resize(self, part: Tensor) -> Tensor:
        """Bring the part that was cut out, uint8 (3, H, W), to uint8 (3, size, size)."""

    def __call__(self, image: Image.Image) -> Tensor:
        """Crop an image of mode `RGB` to uint8 (3, size, size)."""
        left, top, width, height, mirrored = self.draw(image)
        # copying only what is cut out to a tensor is faster
        part = np.array(image.crop((left, top, left + width, top + height)))
        resized = self.resize(torch.from_numpy(part).permute(2, 0, 1))
        return resized.flip(-1) if mirrored else resized


class TrainingCrop(Crop):
    """A random resized crop of aspect 3/4 to 4/3, mirrored in half of the cases if wanted.

    Random numbers come from torch's global generator. Source: METHOD [released].

    Args:
        size: height and width in pixels.
        scale_min: smallest share of the image's area that the crop may show.
        horizontal_flip: whether to mirror.
    """

    def __init__(self, size: int, scale_min: float, horizontal_flip: bool) -> None:
        self._box = v2.RandomResizedCrop(size, scale=(scale_min, 1.0))
        self._resize = v2.Resize((size, size), antialias=True)
        self._mirrored = 0.5 if horizontal_flip else 0.0

    @override
    def draw(self, image: Image.Image) -> Cut:
        box = self._box.make_params([image])
        mirrored = bool(torch.rand(1) < self._mirrored)
        return Cut(box["left"], box["top"], box["width"], box["height"], mirrored)

    @override
    def resize(self, part: Tensor) -> Tensor:
        return self._resize(part)


class EvaluationCrop(Crop):
    """The central `size` x `size` pixels after the shorter side was resized to `resize`.

    Source: METHOD [released].
    """

    def __init__(self, resize: int, size: int) -> None:
        self._crop = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size)])

    @override
    def draw(self, image: Image.Image) -> Cut:
        return Cut(0, 0, *image.size, mirrored=False)

    @override
    def resize(self, part: Tensor) -> Tensor:
        return self._crop(part)
