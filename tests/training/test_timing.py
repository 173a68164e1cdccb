"""What the stopwatch says of an epoch: warm-up apart from throughput."""

import time

import pytest
import torch

from pipeline.training.timing import Stopwatch

STEP = 0.02
"""Seconds that a step takes at least."""


def epoch(stopwatch: Stopwatch, sizes: list[int]) -> dict:
    stopwatch.start()
    for size in sizes:
        with stopwatch.step(size, size):
            time.sleep(STEP)
    return stopwatch.row(1, sum(sizes), stopwatch.warm_up_images)


def counted_images(row: dict) -> float:
    """Images whose time counts in images_per_second."""
    return row["images_per_second"] * (row["seconds"] - row["warm_up_seconds"])


def test_the_first_step_of_each_size_is_warm_up():
    stopwatch = Stopwatch(torch.device("cpu"))
    first, second = (epoch(stopwatch, [26, 26, 25, 25]) for _ in range(2))
    assert first["warm_up_seconds"] >= 2 * STEP
    assert counted_images(first) == pytest.approx(26 + 25)
    assert second["warm_up_seconds"] == 0
    assert counted_images(second) == pytest.approx(102)


def test_an_epoch_of_first_steps_alone_counts_whole():
    row = epoch(Stopwatch(torch.device("cpu")), [26])
    assert row["warm_up_seconds"] == 0
    assert counted_images(row) == pytest.approx(26)


def test_the_peak_memory_is_that_of_this_process():
    assert epoch(Stopwatch(torch.device("cpu")), [1])["peak_memory_mib"] > 50
