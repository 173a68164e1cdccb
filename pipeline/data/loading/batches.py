"""Batches of images: what the trainer asks of them, whatever holds the images."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Shares:
    """This rank's share of each global batch: see `Batches`.

    Attributes:
        images: in an epoch, 1 or more.
        batch_size: images in a global batch, at most.
        rank: of this process.
        world_size: number of processes.
    """

    images: int
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        """Number of global batches: as few as hold all images."""
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """First place in the order of the epoch, and the one after the last."""
        first = 0
        for size in self.sizes():
            start = first + size * self.rank // self.world_size
            yield start, first + size * (self.rank + 1) // self.world_size
            first += size

    def sizes(self) -> Iterator[int]:
        """Images of each global batch, the larger ones first."""
        size, larger = divmod(self.images, len(self))
        for number in range(len(self)):
            yield size + (number < larger)

    def whole(self) -> "Shares":
        """All images, in one process."""
        return Shares(self.images, self.batch_size, rank=0, world_size=1)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Random numbers on the CPU, a pure function of (seed, epoch)."""
    mixed = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


class Batches(ABC):
    """Normalised batches of a split, a pure function of (seed, epoch).

    In an epoch every image comes exactly once over all ranks. Where the batch size does not divide
    their number, all batches are a little smaller instead of the last one alone: their sizes differ
    by one image at most. A rank takes a contiguous share of each global batch: which image is in a
    batch, and how it is changed, does not depend on the number of ranks. Shares of a batch differ
    by one image at most; one may be empty.

    Args:
        shares: of this rank.
        shuffle: a new order each epoch, for training.
        seed: of order and augmentation.
        device: where the batches come out.
    """

    def __init__(self, shares: Shares, *, shuffle: bool, seed: int, device: torch.device) -> None:
        self._shares = shares
        self._shuffle = shuffle
        self._seed = seed
        self._device = device

    @property
    @abstractmethod
    def changes(self) -> bool:
        """Whether an image may differ from epoch to epoch."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's share of each global batch of an epoch.

        Yields:
            Images float32 (B, C, H, W), normalised, and labels int64 (B,).
        """

    def __len__(self) -> int:
        """Number of global batches in an epoch."""
        return len(self._shares)

    def positions(self, epoch: int) -> Iterator[Tensor]:
        """Where in the split the images of each of `batches` are, int64 (B,)."""
        order = self._order(epoch_generator(self._seed, epoch)).to(self._device)
        for start, stop in self._shares:
            yield order[start:stop]

    def sizes(self) -> Iterator[int]:
        """Images of each global batch, over all ranks."""
        return self._shares.sizes()

    def whole(self) -> Self:
        """Every image of the same split once and in order, in each process; no copy of it."""
        whole = copy.copy(self)
        whole._shuffle, whole._shares = False, self._shares.whole()
        return whole

    def _order(self, generator: torch.Generator) -> Tensor:
        """Positions of all images of an epoch, int64 (N,)."""
        if not self._shuffle:
            return torch.arange(self._shares.images)
        return self._shuffled(generator)

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self._shares.images, generator=generator)
