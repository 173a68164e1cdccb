"""Batches: what the trainer asks of them, and those of a split that lives on the device as uint8.

There crop, flip and normalisation are operations on the batch: no Python runs for each image,
nothing is decoded, and with CUDA nothing but the epoch's random numbers crosses the bus.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.prepared import Split
from pipeline.params import Augmentation


class Batches(Protocol):
    """Normalised batches of a split, a pure function of (seed, epoch).

    Training drops an incomplete last batch unless it is the only one; evaluation keeps it. A rank
    takes a contiguous share of each global batch: which image is in a batch, and how it is changed,
    does not depend on the number of ranks. In evaluation every image comes exactly once over all
    ranks, and a share may be empty.
    """

    @property
    def changes(self) -> bool:
        """Whether an image may differ from epoch to epoch."""

    def __len__(self) -> int:
        """Number of global batches in an epoch."""

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of each global batch of an epoch.

        Yields:
            Images float32 (B, C, H, W), normalised, and labels int64 (B,).
        """

    def positions(self, epoch: int) -> Iterator[Tensor]:
        """Where in the split the images of each of `batches` are, int64 (B,)."""

    def whole(self) -> Self:
        """Every image of the same split once and in order, in each process; no copy of it."""


@dataclass(frozen=True)
class Shares:
    """This rank's share of each global batch: see `Batches`.

    Attributes:
        images: in an epoch.
        batch_size: images in a global batch.
        drop_last: leave out an incomplete last batch unless it is the only one.
        rank: of this process.
        world_size: number of processes.
    """

    images: int
    batch_size: int
    drop_last: bool
    rank: int
    world_size: int

    def __len__(self) -> int:
        """Number of global batches."""
        whole, rest = divmod(self.images, self.batch_size)
        return whole if rest == 0 or (self.drop_last and whole) else whole + 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """First and last but one place in the order of the epoch."""
        for first in range(0, len(self) * self.batch_size, self.batch_size):
            size = min(self.batch_size, self.images - first)
            start = first + size * self.rank // self.world_size
            yield start, first + size * (self.rank + 1) // self.world_size

    def whole(self) -> "Shares":
        """All images, in one process."""
        return Shares(self.images, self.batch_size, drop_last=False, rank=0, world_size=1)


class Normalization:
    """uint8 images to float32 ones of mean 0 and standard deviation 1 in each channel.

    Args:
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
        size: (H, W) of the images.
        device: of the images.
        memory_format: of the result.
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
        """Normalise images (B, C, H, W)."""
        pixels = images.to(torch.float32, memory_format=self._format)
        return torch.addcmul(self._shift, pixels, self._scale, out=pixels)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers on the CPU, a pure function of (seed, epoch)."""
    mixed = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


class ResidentBatches:
    """Batches of a split in memory; see `Batches`.

    Random numbers are drawn on the CPU for the whole epoch, so that every device and every number
    of processes sees the same images, changed alike, in the same global batch.

    Args:
        split: images uint8 (N, C, H, W), labels int64 (N,).
        mean: of each channel, in [0, 1].
        std: of each channel, in [0, 1].
        batch_size: images in a global batch, over all ranks.
        augmentation: random crop out of zero (black) padding and random horizontal flip, drawn for
            each image; None for neither.
        shuffle: a new order each epoch, for training.
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
        self._images = F.pad(torch.from_numpy(split.images).to(device), (self._padding,) * 4)
        self._labels = torch.from_numpy(split.labels).to(device)
        self._shares = Shares(len(split.labels), batch_size, shuffle, rank, world_size)
        self._shuffle = shuffle
        self._seed = seed
        self._device = device
        self._shape = split.images.shape[1:]
        channels, height, width = self._shape
        self._normalize = Normalization(
            mean,
            std,
            (height, width),
            device,
            torch.channels_last if channels_last else torch.contiguous_format,
        )

        # Offset of each row of a crop from the crop's first byte, channel by channel.
        padded_height, padded_width = self._images.shape[2:]
        planes = torch.arange(channels, device=device)[:, None] * (padded_height * padded_width)
        self._rows = (planes + torch.arange(height, device=device) * padded_width).flatten()
        # Every run of `width` bytes as a row of an overlapping view: a crop selects rows of it,
        # each copied at once (a third of the time of indexing by pixel or by window).
        runs = self._images.numel() - width + 1
        self._runs = self._images.view(-1).as_strided((runs, width), (1, 1))

    @property
    def changes(self) -> bool:
        """See `Batches`."""
        return self._padding > 0 or self._flip

    def __len__(self) -> int:
        """See `Batches`."""
        return len(self._shares)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`."""
        generator = epoch_generator(self._seed, epoch)
        order = self._order(generator)
        corners = torch.randint(2 * self._padding + 1, (2, len(order)), generator=generator)
        flips = torch.randint(2, (len(order),), generator=generator)
        order, corners, flips = (each.to(self._device) for each in (order, corners, flips))
        for start, stop in self._shares:
            chosen = order[start:stop]
            images = self._crop(chosen, *corners[:, start:stop])
            if self._flip:
                images = _flip(images, flips[start:stop])
            yield self._normalize(images), self._labels[chosen]

    def positions(self, epoch: int) -> Iterator[Tensor]:
        """See `Batches`."""
        order = self._order(epoch_generator(self._seed, epoch)).to(self._device)
        for start, stop in self._shares:
            yield order[start:stop]

    def whole(self) -> Self:
        """See `Batches`."""
        whole = copy.copy(self)
        whole._shuffle, whole._shares = False, self._shares.whole()
        return whole

    def _order(self, generator: torch.Generator) -> Tensor:
        count = len(self._labels)
        return torch.randperm(count, generator=generator) if self._shuffle else torch.arange(count)

    def _crop(self, chosen: Tensor, top: Tensor, left: Tensor) -> Tensor:
        if self._padding == 0:
            return self._images.index_select(0, chosen)
        size, width = self._images[0].numel(), self._images.shape[3]
        starts = chosen * size + top * width + left
        rows = self._runs.index_select(0, (starts[:, None] + self._rows).flatten())
        return rows.view(len(chosen), *self._shape)


def _flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images where `flips` (int64 0 or 1) says so.

    Selecting from the images beside their mirror images takes a quarter of the time of torch.where
    and, unlike a mask, does not make the host wait for the device.
    """
    both = torch.stack((images, images.flip(3)), dim=1).flatten(0, 1)
    return both.index_select(0, 2 * torch.arange(len(flips), device=flips.device) + flips)
