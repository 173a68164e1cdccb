"""Batches of images: the interface that trainings and evaluation have to any data set."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.data.prepared import Manifest, SplitName
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.params import Augmentation


@dataclass(frozen=True)
class Shares:
    """This process's share of each global batch: see `Batches`.

    Attributes:
        images: number of images in an epoch, 1 or more.
        batch_size: largest number of images in a global batch.
        world: this process among those that share the batches.
    """

    images: int
    batch_size: int
    world: World

    def __len__(self) -> int:
        """Number of global batches: as few as hold all images."""
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield each share's first place in the order of the epoch, and the one after its last."""
        rank, processes = self.world.rank, self.world.size
        first = 0
        for size in self.sizes():
            yield first + size * rank // processes, first + size * (rank + 1) // processes
            first += size

    def sizes(self) -> Iterator[int]:
        """Number of images in each global batch, the larger ones first."""
        size, larger = divmod(self.images, len(self))
        for number in range(len(self)):
            yield size + (number < larger)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Generator of random numbers on the CPU, a pure function of (seed, epoch)."""
    mixed = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed))


class Batches(ABC):
    """Normalized batches of a split, a pure function of (seed, epoch).

    In an epoch, every image comes exactly once over all ranks. Where the batch size does not divide
    the number of images, all batches are a little smaller instead of the last one alone, and their
    sizes differ by one image at most. A rank takes a contiguous share of each global batch, so
    which images are in a batch, and how they are changed, does not depend on the number of ranks.
    Shares of a batch differ by one image at most; a share may be empty.

    Args:
        shares: this process's share of each global batch.
        shuffled: whether each epoch has a new order.
        seed: determines order and augmentation.
    """

    def __init__(self, shares: Shares, *, shuffled: bool, seed: int) -> None:
        self._shares = shares
        self._shuffled = shuffled
        self._seed = seed

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of each global batch of an epoch.

        Yields:
            Images float32 (B, C, H, W), normalized, and labels int64 (B,).

        Raises:
            UserError: an image cannot be read or decoded.
        """

    def __len__(self) -> int:
        """Number of global batches in an epoch."""
        return len(self._shares)

    def sizes(self) -> Iterator[int]:
        """Number of images in each global batch, over all processes."""
        return self._shares.sizes()

    def _order(self, generator: torch.Generator) -> Tensor:
        """Positions of all images of an epoch, int64 (N,)."""
        if not self._shuffled:
            return torch.arange(self._shares.images)
        return self._new_order(generator)

    def _new_order(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(self._shares.images, generator=generator)


class Images(ABC):
    """A prepared data set.

    Attributes:
        manifest: the description of what it holds.
    """

    manifest: Manifest

    @abstractmethod
    def batches(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        seed: int,
        execution: Execution,
        world: World,
    ) -> Batches:
        """Batches of a split.

        Args:
            split: name of the split.
            batch_size: largest number of images in a global batch, over all processes.
            augmentation: random changes, drawn for each image, with a new order in each epoch;
                None: no changes, in the order of the split.
            seed: determines order and augmentation.
            execution: device and memory format of the batches.
            world: this process among those that share the batches.

        Raises:
            UserError: a file of the split is missing or damaged.
        """

    @abstractmethod
    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        """An image of a split as evaluation sees it, uint8 (C, H, W).

        Raises:
            UserError: it cannot be read.
        """
