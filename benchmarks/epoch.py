"""An epoch of our trainer against one of the usual loop."""

import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.paired import Contender, interleave, rate, ratio
from benchmarks.usual_loop import WORKERS
from benchmarks.workload import Network, OurLoop, Row, UsualEpoch, Workload, random_images
from pipeline.device import Execution, configure, select_device
from pipeline.params import Params

OURS, USUAL, USUAL_LAYERS = "ours", "usual", "usual, its own layers"


def measure(workload: Workload, network: Network, rounds: int, batches: int) -> dict[str, Any]:
    """Images/s of each loop in the rows complete and binary, also as multiples of USUAL's."""
    names = _names(workload.execution)
    result = {}
    units = batches * workload.batch_size
    for row in get_args(Row):
        contenders = {
            name: Contender(_epoch(workload, network, row, name, batches), units) for name in names
        }
        samples = interleave(contenders, rounds, workload.execution.device)
        result[row] = {
            "images": {name: rate(samples[name]) for name in names},
            "ratio": {
                name: ratio(samples[USUAL], samples[name]) for name in names if name != USUAL
            },
        }
    return result


def measure_alone(workload: Workload, network: Network) -> dict[str, dict[str, float]]:
    """Warm-up and peak memory of each loop in a process of its own, in the row complete.

    See `alone`.
    """
    result = {}
    for name in _names(workload.execution):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            result[name] = process.submit(alone, workload.params, network, name).result()
    return result


def _names(execution: Execution) -> tuple[str, ...]:
    return (*_variants(execution), USUAL, USUAL_LAYERS)


def _variants(execution: Execution) -> dict[str, Execution]:
    """The execution of our loop, and variants with another choice, by name.

    Each variant changes one choice, but `float32, eager` changes two.
    """
    ours = replace(execution, deterministic=False)
    single = replace(ours, autocast=None)
    variants = {OURS: ours, "ours, optimizer not fused": replace(ours, fused_optimizer=False)}
    order = "channels first" if ours.channels_last else "channels last"
    variants[f"ours, {order}"] = replace(ours, channels_last=not ours.channels_last)
    if ours.device.type == "cuda":  # on a CPU every algorithm is deterministic
        variants["ours, deterministic"] = replace(ours, deterministic=True)
    if ours.autocast:
        variants["ours, float32"] = single
    if ours.compile:
        variants["ours, float32, eager"] = replace(single, compile=False)
    return variants


def _epoch(
    workload: Workload, network: Network, row: Row, name: str, batches: int
) -> Callable[[], None]:
    """A function that runs an epoch of the loop `name`.

    It chooses its algorithms anew each time, because the loops take turns.
    """
    variants = _variants(workload.execution)
    execution = variants.get(name, variants[OURS])
    workload = replace(workload, execution=execution)
    loop: OurLoop | UsualEpoch
    if name in variants:
        loop = OurLoop(workload, network, row, batches)
    else:
        own = name == USUAL_LAYERS
        loop = UsualEpoch(workload, network, row, batches, workers=WORKERS, usual_layers=own)

    def epoch() -> None:
        execution.choose_algorithms()
        loop.epoch()

    return epoch


def alone(params: Params, network: Network, name: str) -> dict[str, float]:
    """Measure a loop by itself. Call it in a new process, where nothing has been compiled before.

    Returns:
        By how many seconds its first epoch, of two batches, takes longer than its second; and its
        peak memory in MiB, which is resident memory without that of workers on a CPU, and
        allocated memory on a GPU.
    """
    device = select_device()
    workload = Workload(params, configure(params.compute, device, binary=True), random_images())
    seconds = []
    with tempfile.TemporaryDirectory() as nothing_compiled:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = nothing_compiled
        epoch = _epoch(workload, network, "complete", name, batches=2)
        for _ in range(2):
            start = time.perf_counter()
            epoch()
            seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        peak = _peak_resident()
    return {"warm_up_seconds": round(seconds[0] - seconds[1], 1), "peak_memory_mib": round(peak)}


def _peak_resident() -> float:
    """Peak resident memory in MiB; getrusage would give the parent's peak if that is larger."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 2**10  # type: ignore[index]
