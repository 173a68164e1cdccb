"""Batches of images that workers decode as they are needed and that are never all in memory."""

import atexit
import ctypes
import multiprocessing
import os
import re
import reprlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from pipeline.artifacts import reading
from pipeline.data.crops import Crop, EvaluationCrop, TrainingCrop
from pipeline.data.encoded import Encoded
from pipeline.data.loading.batches import Batches, Images, Shares, epoch_generator
from pipeline.data.loading.decoding import Decoder, PillowDecoder, Selection
from pipeline.data.loading.normalization import Normalization
from pipeline.data.loading.nvjpeg import NvjpegDecoder
from pipeline.data.prepared import SplitName, StreamedManifest, check_labels, check_sum
from pipeline.device import Execution
from pipeline.distributed import LARGEST_WORLD, World, number_of_torchrun
from pipeline.errors import UserError
from pipeline.params import Augmentation, resolve

INDEX = pa.schema(
    [
        ("path", pa.string()),
        ("row", pa.int64()),
        ("group", pa.int64()),
        ("size", pa.int64()),
        ("label", pa.int64()),
    ]
)
"""Columns of the index of a split, none with missing values."""
SHUFFLE_WINDOW = 4096
"""Number of images from shards that are shuffled together."""
LEFT_TO_THE_TRAINING = (signal.SIGINT, signal.SIGTERM)
"""Terminals and launchers send these signals to all processes; workers that died from them would
end the training before it saves."""


def worker_count() -> int:
    """Number of processes that decode: environment variable BDBNN_WORKERS, else the usable CPUs.

    If torchrun started several processes on this machine, they divide the CPUs.

    Raises:
        UserError: BDBNN_WORKERS or LOCAL_WORLD_SIZE is no number, or out of range.
    """
    given = os.environ.get("BDBNN_WORKERS")
    if not given:  # joblib knows a container's quota, which os.cpu_count does not
        processes = number_of_torchrun("LOCAL_WORLD_SIZE", 1, 1, LARGEST_WORLD)
        return max(1, joblib.cpu_count() // processes)
    if not re.fullmatch("[0-9]{1,4}", given):
        raise UserError(
            f"BDBNN_WORKERS is {reprlib.repr(given)}: must be a number of processes, 0 to 9999"
        )
    return int(given)


class StreamedImages(Images):
    """An index and the images it lists.

    Args:
        folder: folder that prepare wrote.
        manifest: its manifest.

    Raises:
        UserError: the folder of the images cannot be resolved.
    """

    manifest: StreamedManifest

    def __init__(self, folder: Path, manifest: StreamedManifest) -> None:
        self.manifest = manifest
        self._folder = folder
        self._root = resolve(manifest.location)

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
    ) -> "StreamedBatches":
        encoded, sizes, labels = self._load(split)
        manifest = self.manifest
        size = manifest.image_size
        crop: Crop = EvaluationCrop(manifest.streaming.resize, size)
        if augmentation is not None:
            scale_min = manifest.streaming.crop_scale_min
            crop = TrainingCrop(size, scale_min, augmentation.horizontal_flip)
        device = execution.device
        return StreamedBatches(
            self._decoder(device)(encoded, sizes, crop, size),
            labels,
            Normalization(
                manifest.mean, manifest.std, (size, size), device, execution.memory_format
            ),
            shares=Shares(len(labels), batch_size, world),
            augmented=augmentation is not None,
            seed=seed,
            device=device,
        )

    @override
    def pixels(self, split: SplitName, index: int) -> np.ndarray:
        encoded, sizes, _ = self._load(split)
        crop = EvaluationCrop(self.manifest.streaming.resize, self.manifest.image_size)
        decoder = PillowDecoder(encoded, sizes, crop, self.manifest.image_size)
        return decoder.read(Selection(np.array([index]), seeds=None))[0].numpy()

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
        """Load the index of a split: where its images are, their sizes in bytes, and labels."""
        path = self._folder / f"{split}.parquet"
        check_sum(path, self.manifest)
        with reading(path, "an index of images", pa.ArrowException):
            table = pq.read_table(path, columns=INDEX.names)
        columns = table.schema.remove_metadata()
        if columns != INDEX or any(column.null_count for column in table.columns):
            raise UserError(f"{path}: is not the index of a split; run the stage prepare again")
        rows, groups, sizes, labels = (
            table[name].to_numpy() for name in ("row", "group", "size", "label")
        )
        check_labels(path, labels, self.manifest, split)
        # one buffer of Arrow's: with Python strings, whose reference counts are written to, each
        # worker would in time copy all of them
        paths = table["path"].combine_chunks()
        return Encoded(self._root, paths, rows, groups), sizes, labels


class StreamedBatches(Batches):
    """Batches of indexed images.

    This process draws order and seeds for the whole epoch and its workers only decode, so what is
    in a batch does not depend on their number. Files come in a new order each epoch. Row groups of
    shards do too, and their rows are shuffled in windows of SHUFFLE_WINDOW images, so that a row
    group is not read anew for every row.

    Args:
        decoder: reads and crops the images.
        labels: int64 (N,).
        normalize: normalization of the batches.
        shares: this process's share of each global batch.
        augmented: whether crops are random and each epoch has a new order.
        seed: determines order and augmentation.
        device: device of the batches.

    Raises:
        UserError: as `worker_count`.
    """

    def __init__(
        self,
        decoder: Decoder,
        labels: np.ndarray,
        normalize: Normalization,
        *,
        shares: Shares,
        augmented: bool,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(shares, shuffled=augmented, seed=seed)
        self._decoder = decoder
        self._labels = torch.from_numpy(labels.copy())
        self._normalize = normalize
        self._device = device
        self._workers = worker_count()

    @override
    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = epoch_generator(self._seed, epoch)
        order = self._order(generator)
        seeds = torch.randint(2**62, (len(order),), generator=generator)
        shares = list(self._shares)
        selections = [
            Selection(
                order[start:stop].numpy(), seeds[start:stop].numpy() if self._shuffled else None
            )
            for start, stop in shares
        ]
        for (start, stop), item in zip(shares, self._items(selections), strict=True):
            images = self._decoder.to_device(item, self._device)
            labels = self._labels[order[start:stop]]
            yield self._normalize(images), labels.to(self._device)

    @override
    def _new_order(self, generator: torch.Generator) -> Tensor:
        encoded = self._decoder.encoded
        if encoded.are_files:
            return super()._new_order(generator)
        blocks = torch.from_numpy(encoded.blocks())
        ranks = torch.randperm(int(blocks[-1]) + 1, generator=generator)
        order = torch.argsort(ranks[blocks], stable=True)
        windows = order.split(SHUFFLE_WINDOW)
        return torch.cat([each[torch.randperm(len(each), generator=generator)] for each in windows])

    def _items(self, selections: Sequence[Selection]) -> Iterator[Any]:
        """Yield what the workers read for each selection, in the order of the selections."""
        loader: DataLoader = DataLoader(
            self._decoder,
            sampler=selections,
            batch_size=None,
            num_workers=min(self._workers, len(selections)),
            worker_init_fn=_start_worker,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else it draws from the global one
        )
        delivered = _start(loader)
        try:
            for _ in selections:
                item = _next(delivered)
                if isinstance(item, UserError):
                    raise UserError(str(item))
                yield item
        finally:
            del delivered  # ends the workers, even while a traceback holds this frame


def _start(loader: DataLoader) -> Iterator[Any]:
    """Start the workers.

    Signals are blocked meanwhile, because a worker that got one before `_start_worker` would handle
    it as the training does. DataLoader's handler of SIGCHLD is removed: when a worker dies, it
    raises wherever this process is, even at exit, whereas the next batch says so within seconds.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_THE_TRAINING)
    try:
        delivered = iter(loader)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return delivered
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _next(delivered: Iterator[Any]) -> Any:
    """The next item from the workers, or a UserError that says why there is none.

    The error is returned, because the traceback of one raised here would keep the workers alive.
    """
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
    """Leave signals to the training, and end with it.

    DataLoader's workers check only every five seconds whether the training is alive. Until they end
    they hold its locks, and a new start is refused because another process seems to be training.
    """
    for number in LEFT_TO_THE_TRAINING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


@atexit.register
def _end_workers() -> None:
    """Kill the workers of batches that were abandoned.

    Python would otherwise send them SIGTERM at exit, which they ignore, and wait forever.
    """
    for worker in multiprocessing.active_children():
        worker.kill()
