"""Normalization of pixels to the numbers that a network takes."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalization:
    """Maps uint8 images to float32 ones of mean 0 and standard deviation 1 in each channel.

    Args:
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
        size: (H, W) of the images.
        device: where the images are.
        memory_format: memory format of the result.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        size: tuple[int, int],
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._format = memory_format
        # Full-size tables: addcmul is five times slower where it has to broadcast over H and W.
        shape = (len(mean), *size)
        means = torch.tensor(mean, device=device)[:, None, None].expand(shape)
        stds = torch.tensor(std, device=device)[:, None, None].expand(shape)
        self._scale = (1 / (255 * stds))[None].contiguous(memory_format=memory_format)
        self._shift = (-means / stds)[None].contiguous(memory_format=memory_format)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalize images (B, C, H, W) to float32."""
        pixels = images.to(torch.float32, memory_format=self._format)
        return torch.addcmul(self._shift, pixels, self._scale, out=pixels)
