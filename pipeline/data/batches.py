"""Batches from a whole split that lives on the device as uint8.

Crop, flip and normalisation are operations on the batch: no Python runs for each image, nothing is
decoded, and with CUDA nothing but the epoch's random numbers crosses the bus.
"""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.prepared import Split
from pipeline.params import Augmentation


class ResidentBatches:
    """Normalised batches of a split, a pure function of (seed, epoch).

    Random numbers are drawn on the CPU for the whole epoch, so that every device and every number
    of processes sees the same images, changed alike, in the same global batch.

    Training (`shuffle`) drops an incomplete last batch unless it is the only one; evaluation keeps
    it. A rank takes a contiguous share of each global batch: in evaluation every sample comes
    exactly once over all ranks, and a share may be empty.

    Args:
        split: images uint8 (N, C, H, W), labels int64 (N,).
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
        batch_size: images in a global batch, over all ranks.
        augmentation: random crop out of zero (black) padding and random horizontal flip, drawn for
            each image; None for neither.
        shuffle: a new order each epoch.
        seed: of order and augmentation.
        device: where the split lives and the batches come out.
        channels_last: memory format of the batches.
        rank: of this process.
        world_size: number of processes.
    """

    def __init__(
        self,
        split: Split,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        shuffle: bool,
        seed: int,
        device: torch.device,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._padding = augmentation.crop_padding if augmentation else 0
        self._flip = augmentation.horizontal_flip if augmentation else False
        self.changes = self._padding > 0 or self._flip
        """Whether an image may differ from epoch to epoch."""
        self._images = F.pad(torch.from_numpy(split.images).to(device), (self._padding,) * 4)
        self._labels = torch.from_numpy(split.labels).to(device)
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._device = device
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._rank, self._world_size = rank, world_size

        # Full-size tables: addcmul is five times slower where it has to broadcast over H and W.
        shape = split.images.shape[1:]
        means = torch.tensor(mean, device=device)[:, None, None].expand(shape)
        stds = torch.tensor(std, device=device)[:, None, None].expand(shape)
        self._scale = (1 / (255 * stds))[None].contiguous(memory_format=self._format)
        self._shift = (-means / stds)[None].contiguous(memory_format=self._format)

        # Offset of each row of a crop from the crop's first byte, channel by channel.
        channels, height, width = shape
        padded_height, padded_width = self._images.shape[2:]
        planes = torch.arange(channels, device=device)[:, None] * (padded_height * padded_width)
        self._rows = (planes + torch.arange(height, device=device) * padded_width).flatten()
        # Every run of `width` bytes as a row of an overlapping view: a crop selects rows of it,
        # each copied at once (a third of the time of indexing by pixel or by window).
        runs = self._images.numel() - width + 1
        self._runs = self._images.view(-1).as_strided((runs, width), (1, 1))

    def __len__(self) -> int:
        """Number of global batches in an epoch."""
        whole, rest = divmod(len(self._labels), self._batch_size)
        return whole if rest == 0 or (self._shuffle and whole) else whole + 1

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of each global batch of an epoch.

        Yields:
            Images float32 (B, C, H, W), normalised, and labels int64 (B,).
        """
        generator = self._generator(epoch)
        order = self._order(generator)
        corners = torch.randint(2 * self._padding + 1, (2, len(order)), generator=generator)
        flips = torch.randint(2, (len(order),), generator=generator)
        order, corners, flips = (each.to(self._device) for each in (order, corners, flips))
        for start, stop in self._shares():
            chosen = order[start:stop]
            images = self._crop(chosen, *corners[:, start:stop])
            if self._flip:
                images = _flip(images, flips[start:stop])
            pixels = images.to(torch.float32, memory_format=self._format)
            torch.addcmul(self._shift, pixels, self._scale, out=pixels)
            yield pixels, self._labels[chosen]

    def positions(self, epoch: int) -> Iterator[Tensor]:
        """Where in the split the images of each of `batches` are, int64 (B,)."""
        order = self._order(self._generator(epoch)).to(self._device)
        for start, stop in self._shares():
            yield order[start:stop]

    def whole(self) -> "ResidentBatches":
        """Every image of the same split once and in order, in each process; no copy of it."""
        whole = copy.copy(self)
        whole._shuffle, whole._rank, whole._world_size = False, 0, 1
        return whole

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(_mix(self._seed, epoch))

    def _order(self, generator: torch.Generator) -> Tensor:
        count = len(self._labels)
        return torch.randperm(count, generator=generator) if self._shuffle else torch.arange(count)

    def _shares(self) -> Iterator[tuple[int, int]]:
        """This rank's share of each global batch: first and last but one place in the order."""
        for first in range(0, len(self) * self._batch_size, self._batch_size):
            size = min(self._batch_size, len(self._labels) - first)
            start = first + size * self._rank // self._world_size
            yield start, first + size * (self._rank + 1) // self._world_size

    def _crop(self, chosen: Tensor, top: Tensor, left: Tensor) -> Tensor:
        if self._padding == 0:
            return self._images.index_select(0, chosen)
        size, width = self._images[0].numel(), self._images.shape[3]
        starts = chosen * size + top * width + left
        rows = self._runs.index_select(0, (starts[:, None] + self._rows).flatten())
        return rows.view(len(chosen), *self._shift.shape[1:])


def _flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images where `flips` (int64 0 or 1) says so.

    Selecting from the images beside their mirror images takes a quarter of the time of torch.where
    and, unlike a mask, does not make the host wait for the device.
    """
    both = torch.stack((images, images.flip(3)), dim=1).flatten(0, 1)
    return both.index_select(0, 2 * torch.arange(len(flips), device=flips.device) + flips)


def _mix(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])
