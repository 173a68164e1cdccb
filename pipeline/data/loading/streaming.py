"""Batches of images that are decoded as they are needed, by workers, and never all in memory."""

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.data.crops import Crop, EvaluationCrop, TrainingCrop
from pipeline.data.encoded import Encoded
from pipeline.data.loading.batches import Batches, Shares, epoch_generator
from pipeline.data.loading.decoding import Decoder, PillowDecoder, Task
from pipeline.data.loading.normalization import Normalization
from pipeline.data.loading.nvjpeg import NvjpegDecoder
from pipeline.data.location import resolve
from pipeline.data.prepared import SplitName, StreamedManifest, check_sum
from pipeline.errors import UserError
from pipeline.params import Augmentation

WINDOW = 4096
"""Images of shards that are shuffled among each other."""
LEFT_TO_THE_TRAINING = (signal.SIGINT, signal.SIGTERM)
"""Signals that launchers and terminals send to every process, workers too."""


def worker_count() -> int:
    """Processes that decode: the environment variable BDBNN_WORKERS, else CPUs it may use.

    Several processes of torchrun on one machine divide the CPUs.

    Raises:
        UserError: BDBNN_WORKERS is no number, or below 0.
    """
    given = os.environ.get("BDBNN_WORKERS")
    if not given:
        return max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if not given.isdecimal():
        raise UserError(f"BDBNN_WORKERS is {given!r}: must be a number of processes, 0 or more")
    return int(given)


class StreamedImages:
    """An index and the images it lists.

    Args:
        folder: what prepare wrote.
        manifest: its manifest.

    Raises:
        UserError: the folder of the images cannot be resolved.
    """

    def __init__(self, folder: Path, manifest: StreamedManifest) -> None:
        self.manifest = manifest
        self._folder = folder
        self._root = resolve(manifest.location)

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
    ) -> "StreamedBatches":
        """Batches of a split; see `Images`."""
        encoded, sizes, labels = self._load(split)
        manifest = self.manifest
        size = manifest.image_size
        crop: Crop = EvaluationCrop(manifest.streaming.resize, size)
        if augmentation is not None:
            scale_min = manifest.streaming.crop_scale_min
            crop = TrainingCrop(size, scale_min, augmentation.horizontal_flip)
        return StreamedBatches(
            self._decoder(device)(encoded, sizes, crop, size),
            labels,
            Normalization(
                manifest.mean,
                manifest.std,
                (size, size),
                device,
                torch.channels_last if channels_last else torch.contiguous_format,
            ),
            shares=Shares(len(labels), batch_size, rank, world_size),
            augmented=augmentation is not None,
            shuffle=shuffle,
            seed=seed,
            device=device,
        )

    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        """See `Images`."""
        encoded, sizes, _ = self._load(split)
        crop = EvaluationCrop(self.manifest.streaming.resize, self.manifest.image_size)
        decoder = PillowDecoder(encoded, sizes, crop, self.manifest.image_size)
        images = decoder[np.array([index]), None]
        if isinstance(images, UserError):
            raise images
        return images[0].numpy()

    def _decoder(self, device: torch.device) -> type[Decoder]:
        if self.manifest.streaming.decoder == "pillow":
            return PillowDecoder
        if device.type != "cuda":
            raise UserError(
                f"streaming.decoder is 'nvjpeg': needs a CUDA GPU, the device is {device.type}; "
                "the other decoder is pillow"
            )
        return NvjpegDecoder

    def _load(self, split: SplitName) -> tuple[Encoded, np.ndarray, np.ndarray]:
        """Where the images of a split are, their sizes in bytes, and labels."""
        path = self._folder / f"{split}.parquet"
        check_sum(path, self.manifest)
        try:
            table = pq.read_table(path, columns=["path", "row", "group", "size", "label"])
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file") from error
        rows, groups, sizes, labels = (
            table[name].to_numpy() for name in ("row", "group", "size", "label")
        )
        # one buffer of Arrow's: Python strings, whose reference counts are written to, would make
        # each worker copy all of them in time
        paths = table["path"].combine_chunks()
        return Encoded(self._root, paths, rows, groups), sizes, labels


class StreamedBatches(Batches):
    """Batches of indexed images; see `Batches`.

    Order and seeds are drawn for the whole epoch in this process, whose workers only decode: what
    is in a batch does not depend on their number. Files come in a new order each epoch. Rows of
    shards come from row groups in a new order, shuffled in windows of `WINDOW` images, so that a
    row group is not read for every row.

    Args:
        decoder: of the images.
        labels: int64 (N,).
        normalize: for the batches.
        shares: of this rank.
        augmented: whether the crops are random.
        shuffle: a new order each epoch, for training.
        seed: of order and augmentation.
        device: where the batches come out.

    Raises:
        UserError: BDBNN_WORKERS is not a number of workers.
    """

    def __init__(
        self,
        decoder: Decoder,
        labels: np.ndarray,
        normalize: Normalization,
        *,
        shares: Shares,
        augmented: bool,
        shuffle: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(shares, shuffle=shuffle, seed=seed, device=device)
        self._decoder = decoder
        self._labels = torch.from_numpy(labels.copy())
        self._normalize = normalize
        self._augmented = augmented
        self._workers = worker_count()

    @property
    def changes(self) -> bool:
        """See `Batches`."""
        return self._augmented

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Batches`.

        Raises:
            UserError: an image is not what it was when it was indexed, or cannot be decoded; or a
                worker died.
        """
        generator = epoch_generator(self._seed, epoch)
        order = self._order(generator)
        seeds = torch.randint(2**62, (len(order),), generator=generator)
        shares = list(self._shares)
        tasks = [
            (order[start:stop].numpy(), seeds[start:stop].numpy() if self._augmented else None)
            for start, stop in shares
        ]
        for (start, stop), item in zip(shares, self._items(tasks), strict=True):
            images = self._decoder.to_device(item, self._device)
            labels = self._labels[order[start:stop]]
            yield self._normalize(images), labels.to(self._device)

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        if self._decoder.encoded.rows[0] < 0:
            return super()._shuffled(generator)
        blocks = torch.from_numpy(self._decoder.encoded.blocks())
        ranks = torch.randperm(int(blocks[-1]) + 1, generator=generator)
        order = torch.argsort(ranks[blocks], stable=True)
        windows = order.split(WINDOW)
        return torch.cat([each[torch.randperm(len(each), generator=generator)] for each in windows])

    def _items(self, tasks: Sequence[Task]) -> Iterator[Any]:
        """What workers make of each task, in the order of the tasks."""
        loader: DataLoader = DataLoader(
            self._decoder,
            sampler=tasks,
            batch_size=None,
            num_workers=min(self._workers, len(tasks)),
            worker_init_fn=_start_worker,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else it draws a number from the global one
        )
        delivered = _start(loader)
        # DataLoader's handler raises wherever this process is when a worker dies; without it the
        # next batch says so, within seconds.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            for _ in tasks:
                item = _next(delivered)
                if isinstance(item, UserError):
                    raise UserError(str(item))
                yield item
        finally:
            del delivered  # ends the workers, also while a traceback holds this frame


def _start(loader: DataLoader) -> Iterator[Any]:
    """Start the workers, which no signal reaches before they know to leave it to the training."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_TRAINING)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _next(delivered: Iterator[Any]) -> Any:
    """The next item from the workers, or why there is none."""
    try:
        return next(delivered)
    except (RuntimeError, EOFError, ConnectionError) as error:
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        return UserError(
            "a process that decodes images died; perhaps memory or /dev/shm is full: lower "
            "BDBNN_WORKERS or batch_size"
        )


def _start_worker(_number: int) -> None:
    """Leave signals to the training, but do not outlive it: a worker shares its locks."""
    for number in LEFT_TO_THE_TRAINING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


@atexit.register
def _end_workers() -> None:
    """Kill the workers of batches that were abandoned: at exit Python would wait for them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # DataLoader's handler takes it for an accident
    for worker in multiprocessing.active_children():
        worker.kill()
