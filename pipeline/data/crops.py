"""The crops of training and evaluation where images are streamed."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

Crop = Callable[[Image.Image], Tensor]
"""An image of mode `RGB` and any size to uint8 (3, size, size)."""


class TrainingCrop:
    """A random resized crop of aspect 3/4 to 4/3, mirrored in half of the cases if wanted.

    Random numbers come from torch's global generator. Source: the usual one of ImageNet [field].

    Args:
        size: height and width in pixels.
        scale_min: share of the image's area that the crop has at least.
        horizontal_flip: whether to mirror.
    """

    def __init__(self, size: int, scale_min: float, horizontal_flip: bool) -> None:
        self._box = v2.RandomResizedCrop(size, scale=(scale_min, 1.0))
        self._resize = v2.Resize((size, size), antialias=True)
        self._flip = v2.RandomHorizontalFlip(0.5 if horizontal_flip else 0.0)

    def __call__(self, image: Image.Image) -> Tensor:
        """A crop of `image`; only what it holds is copied to a tensor, which is the faster way."""
        box = self._box.make_params([image])
        right, bottom = box["left"] + box["width"], box["top"] + box["height"]
        part = image.crop((box["left"], box["top"], right, bottom))
        return self._flip(self._resize(_tensor(part)))


class EvaluationCrop:
    """The central `size` x `size` pixels after the shorter side was resized to `resize`."""

    def __init__(self, resize: int, size: int) -> None:
        self._crop = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size)])

    def __call__(self, image: Image.Image) -> Tensor:
        """The crop of `image`."""
        return self._crop(_tensor(image))


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
