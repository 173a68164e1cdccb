"""Measuring contenders in turns, so that other load on the machine hits all of them alike."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
import torch

REST = 0.5
"""Seconds between two measurements, in which DataLoader workers fill their queues: the usual loop
finds up to four batches ready, which is in its favour."""


@dataclass(frozen=True)
class Contender:
    """Something to measure, and the number of units (images, steps) in one run of it."""

    run: Callable[[], object]
    units: int


@dataclass(frozen=True)
class Sample:
    """Time of one unit, a mean over one run."""

    seconds: float
    """Wall-clock time."""
    cpu_seconds: float
    """CPU time of all threads of this process and of the DataLoader workers it started."""


Samples = Sequence[Sample]
Spread = dict[str, float]


def interleave(
    contenders: Mapping[str, Contender], rounds: int, device: torch.device
) -> dict[str, list[Sample]]:
    """Run every contender once to warm up, and then once in each round.

    The order is reversed from round to round. The i-th samples of all contenders are of one round.
    """
    for contender in contenders.values():
        contender.run()
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    names = list(contenders)
    for _ in range(rounds):
        for name in names:
            time.sleep(REST)
            samples[name].append(_measure(contenders[name], device))
        names.reverse()
    return samples


def ratio(numerator: Samples, denominator: Samples) -> dict[str, Spread]:
    """Spread over the rounds of the quotient of two contenders' times, on both clocks."""
    pairs = list(zip(numerator, denominator, strict=True))
    return {
        "wall": spread([one.seconds / other.seconds for one, other in pairs]),
        "cpu": spread([one.cpu_seconds / other.cpu_seconds for one, other in pairs]),
    }


def rate(samples: Samples) -> dict[str, Spread | float]:
    """Units per second of wall-clock time, and the median CPU milliseconds of a unit."""
    return {
        "per_second": spread([1 / sample.seconds for sample in samples]),
        "cpu_milliseconds": spread([1e3 * sample.cpu_seconds for sample in samples])["median"],
    }


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest value, to four significant digits."""
    chosen = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in chosen.items()}


def _measure(contender: Contender, device: torch.device) -> Sample:
    _synchronize(device)
    cpu, start = _cpu_seconds(), time.perf_counter()
    contender.run()
    _synchronize(device)
    seconds, cpu_seconds = time.perf_counter() - start, _cpu_seconds() - cpu
    return Sample(seconds / contender.units, cpu_seconds / contender.units)


def _cpu_seconds() -> float:
    workers = [psutil.Process(child.pid) for child in multiprocessing.active_children()]
    times = [worker.cpu_times() for worker in workers]
    return time.process_time() + sum(each.user + each.system for each in times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
