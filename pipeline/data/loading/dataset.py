"""Prepared images, in memory or streamed, as trainings and evaluation see them."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pipeline.data.loading.batches import Batches
from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import (
    Manifest,
    Prepared,
    Split,
    SplitName,
    StreamedManifest,
    load_manifest,
    load_prepared,
)
from pipeline.params import Augmentation


class Images(Protocol):
    """A prepared data set."""

    @property
    def manifest(self) -> Manifest:
        """What it holds."""

    def batches(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        shuffle: bool,
        seed: int,
        device: torch.device,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> Batches:
        """Batches of a split.

        Args:
            split: its name.
            batch_size: images in a global batch, over all ranks, at most.
            augmentation: how images are changed at random, drawn for each; None: not at all.
            shuffle: a new order each epoch, for training.
            seed: of order and augmentation.
            device: where the batches come out.
            channels_last: memory format of the batches.
            rank: of this process.
            world_size: number of processes.

        Raises:
            UserError: a file of the split is missing or damaged.
        """

    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        """An image of a split as evaluation sees it, uint8 (C, H, W).

        Raises:
            UserError: it cannot be read.
        """


class ResidentImages:
    """A data set in memory."""

    def __init__(self, prepared: Prepared) -> None:
        self.manifest = prepared.manifest
        self._prepared = prepared

    def batches(
        self,
        split: SplitName,
        *,
        batch_size: int,
        augmentation: Augmentation | None,
        shuffle: bool,
        seed: int,
        device: torch.device,
        channels_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> ResidentBatches:
        """See `Images`."""
        return ResidentBatches(
            self._split(split),
            self.manifest.mean,
            self.manifest.std,
            batch_size=batch_size,
            augmentation=augmentation,
            shuffle=shuffle,
            seed=seed,
            device=device,
            channels_last=channels_last,
            rank=rank,
            world_size=world_size,
        )

    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        """See `Images`."""
        return self._split(split).images[index]

    def _split(self, name: SplitName) -> Split:
        return getattr(self._prepared, name)


def open_prepared(folder: Path) -> Images:
    """What prepare wrote: arrays, which are read into memory, or an index.

    Raises:
        UserError: a file is missing or damaged.
    """
    manifest = load_manifest(folder)
    if isinstance(manifest, StreamedManifest):
        # Imported here: torchvision takes seconds, which images in memory need not wait for.
        from pipeline.data.loading.streaming import StreamedImages  # noqa: PLC0415

        return StreamedImages(folder, manifest)
    return ResidentImages(load_prepared(folder))
