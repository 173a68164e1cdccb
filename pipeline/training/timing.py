"""Time and memory that the epochs of a training take."""

import contextlib
import resource
import time
from collections.abc import Hashable, Iterator
from typing import Any

import torch

from pipeline.provenance import hardware


class Stopwatch:
    """Times an epoch and, separately, its warm-up: the first step of each kind.

    In the first step of a kind (size of batch, losses), torch.compile compiles and cuDNN chooses
    its algorithms.

    Args:
        device: where the training computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known_kinds: set[Hashable] = set()
        self.start()

    def start(self) -> None:
        """Begin an epoch."""
        self.warm_up_images = 0
        self._warm_up_seconds = 0.0
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def step(self, kind: Hashable, images: int) -> Iterator[None]:
        """Count a step as warm-up if it is the first of its kind; only then wait for the device."""
        if kind in self._known_kinds:
            yield
            return
        before = self._now()
        yield
        self._known_kinds.add(kind)
        self._warm_up_seconds += self._now() - before
        self.warm_up_images += images

    def row(self, epoch: int, images: int, warm_up_images: int) -> dict[str, Any]:
        """Row of the table `timing` for the epoch that ends now.

        Args:
            epoch: 1-based.
            images: images of the epoch, over all processes.
            warm_up_images: how many of them were in warm-up; if all were, none is left out.
        """
        seconds, warm_up_seconds = time.perf_counter() - self._started, self._warm_up_seconds
        if warm_up_images == images:
            warm_up_seconds, warm_up_images = 0.0, 0
        return {
            "epoch": epoch,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
            "images_per_second": (images - warm_up_images) / (seconds - warm_up_seconds),
            "peak_memory_mib": _peak_memory(self._device),
            "hardware": hardware(self._device),
        }

    def _now(self) -> float:
        """Time in seconds, once the device has done all its work."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _peak_memory(device: torch.device) -> float:
    """Peak memory so far, MiB: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
