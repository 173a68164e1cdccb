"""The progress that a training shows while it runs."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Progress:
    """A progress bar per epoch on a terminal, and one log line per finished epoch anywhere.

    Args:
        run: name of the training.
        epochs: Number of epochs in all.
        shown: False keeps quiet (all processes but the main one).
    """

    def __init__(self, run: str, epochs: int, shown: bool) -> None:
        self._run = run
        self._epochs = epochs
        self._shown = shown
        self._started = time.monotonic()
        self._first_epoch: int | None = None
        self._bar: Any = None

    def bar(self, batches: Iterable[Item], count: int, epoch: int, images: int) -> Iterator[Item]:
        """Pass on `count` batches of about `images`; a terminal shows speed and time left."""
        if self._first_epoch is None:
            self._first_epoch = epoch
        if not (self._shown and sys.stderr.isatty()):
            yield from batches
            return
        title = f"{self._run} {epoch + 1}/{self._epochs}"
        with tqdm(total=count * images, desc=title, unit=" images", leave=False) as self._bar:
            for item in batches:
                yield item
                self._bar.update(images)
        self._bar = None

    @property
    def wants_values(self) -> bool:
        """Whether `values` would be shown now; getting them means waiting for a GPU."""
        bar = self._bar
        return bar is not None and time.time() - bar.last_print_t >= bar.mininterval

    def values(self, loss: float, top1: float) -> None:
        """Show the mean loss and accuracy of the epoch so far beside the bar."""
        self._bar.set_postfix_str(f"loss {loss:.4f}, top-1 {100 * top1:.1f} %", refresh=False)

    def epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Log a finished epoch, a `row` of the curves, with the time left for all epochs."""
        if not self._shown:
            return
        done = row["epoch"] - (self._first_epoch or 0)
        left = (time.monotonic() - self._started) / done * (self._epochs - row["epoch"])
        tqdm.write(
            f"{self._run} epoch {row['epoch']}/{self._epochs}: loss {row['loss']:.4f}, "
            f"train {100 * row['train_top1']:.2f} %, "
            f"validation {100 * row['validation_top1']:.2f} %, "
            f"{images_per_second:.0f} images/s, {left:.0f} s left",
            file=sys.stdout,
        )
        sys.stdout.flush()
