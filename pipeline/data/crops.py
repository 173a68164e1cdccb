"""One encoded image to uint8 pixels: decoding, and the crops of training and evaluation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from pipeline.data.images import load_image
from pipeline.errors import UserError

Crop = Callable[[Tensor], Tensor]
"""uint8 (3, H, W) of any size to uint8 (3, size, size)."""


def pixels(name: str, content: bytes | UserError) -> Tensor:
    """Decode an image as `load_image` does: uint8 (3, H, W), three equal channels if it is grey.

    Args:
        name: what an error calls the image.
        content: the bytes of the file, or why there are none, which is raised.

    Raises:
        UserError: the bytes are no image, or a truncated one.
    """
    image = load_image(name, content).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def training_crop(size: int, scale_min: float, horizontal_flip: bool) -> Crop:
    """A random resized crop of aspect 3/4 to 4/3, mirrored in half of the cases if wanted.

    Random numbers come from torch's global generator. Source: [the field's usual for ImageNet].

    Args:
        size: height and width in pixels.
        scale_min: share of the image's area that the crop has at least.
        horizontal_flip: whether to mirror.
    """
    crop = v2.RandomResizedCrop(size, scale=(scale_min, 1.0), antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip()]) if horizontal_flip else crop


def evaluation_crop(resize: int, size: int) -> Crop:
    """The central `size` x `size` pixels after the shorter side was resized to `resize`."""
    return v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size)])
