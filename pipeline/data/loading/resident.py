"""Prepared arrays, and batches of a split that lives on the device as uint8.

There, crop, flip and normalization are operations on the batch: no Python runs for each image,
nothing is decoded, and with CUDA only the epoch's random numbers cross the bus.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from pipeline.data.loading.batches import Batches, Images, Shares, epoch_generator
from pipeline.data.loading.normalization import Normalization
from pipeline.data.prepared import Manifest, Split, SplitName, load_split
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.params import Augmentation


class ResidentImages(Images):
    """Prepared arrays; a split is read into memory when it is needed.

    Args:
        folder: folder that prepare wrote.
        manifest: its manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self._folder = folder

    @override
    def batches(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        seed: int,
        execution: Execution,
        world: World,
    ) -> "ResidentBatches":
        return ResidentBatches(
            load_split(self._folder, self.manifest, split),
            self.manifest.mean,
            self.manifest.std,
            batch_size=batch_size,
            augmentation=augmentation,
            seed=seed,
            execution=execution,
            world=world,
        )

    @override
    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        return load_split(self._folder, self.manifest, split).images[index]


class ResidentBatches(Batches):
    """Batches of a split in memory.

    Random numbers are drawn on the CPU for the whole epoch, so that a global batch holds the same
    images, changed in the same way, on every device and with any number of processes.

    Args:
        split: images uint8 (N, C, H, W), labels int64 (N,).
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
        batch_size: as in `Images.batches`.
        augmentation: random crop out of the zero-padded (black) image and random horizontal flip,
            drawn for each image, and a new order in each epoch; None for none of these.
        seed: determines order and augmentation.
        execution: device on which the split lives, and memory format of the batches.
        world: this process among those that share the batches.
    """

    def __init__(
        self,
        split: Split,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        seed: int,
        execution: Execution,
        world: World,
    ) -> None:
        shares = Shares(len(split.labels), batch_size, world)
        super().__init__(shares, shuffled=augmentation is not None, seed=seed)
        device = execution.device
        self._padding = augmentation.crop_padding if augmentation else 0
        self._flip = augmentation.horizontal_flip if augmentation else False
        self._images = F.pad(torch.from_numpy(split.images).to(device), (self._padding,) * 4)
        self._labels = torch.from_numpy(split.labels).to(device)
        self._shape = split.images.shape[1:]
        channels, height, width = self._shape
        self._normalize = Normalization(mean, std, (height, width), device, execution.memory_format)

        # Offset of each row of a crop from the crop's first byte, channel by channel.
        padded_height, padded_width = self._images.shape[2:]
        planes = torch.arange(channels, device=device)[:, None] * (padded_height * padded_width)
        self._rows = (planes + torch.arange(height, device=device) * padded_width).flatten()
        # An overlapping view whose rows are all runs of `width` bytes: a crop selects rows of it,
        # each copied at once (a third of the time of indexing by pixel or by window).
        runs = self._images.numel() - width + 1
        self._runs = self._images.view(-1).as_strided((runs, width), (1, 1))

    @override
    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(self._seed, epoch)
        order = self._order(generator)
        corners = torch.randint(2 * self._padding + 1, (2, len(order)), generator=generator)
        flips = torch.randint(2, (len(order),), generator=generator)
        order, corners, flips = (each.to(self._labels.device) for each in (order, corners, flips))
        for start, stop in self._shares:
            chosen = order[start:stop]
            images = self._crop(chosen, *corners[:, start:stop])
            if self._flip:
                images = _flip(images, flips[start:stop])
            yield self._normalize(images), self._labels[chosen]

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
