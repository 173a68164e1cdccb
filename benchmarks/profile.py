"""Where the time of our step goes, operator by operator."""

from collections import Counter
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.workload import Network, OurLoop, Workload

STEPS = 2
SHOWN = 12
COMPILED = "code that torch.compile made"


def measure(workload: Workload, network: Network) -> dict[str, Any]:
    """Shares of the operators that take longest in a step of the row complete, largest first.

    Shares are of the total time of all operators, which on a GPU is the GPU's time. The time of an
    operator excludes the operators that it calls. Code that torch.compile fused counts as one
    operator, COMPILED.
    """
    loop = OurLoop(workload, network, "complete", STEPS)
    loop.epoch()
    on_gpu = workload.execution.device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        loop.epoch()
    times: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = COMPILED if "CompiledFxGraph" in event.key else event.key
        times[name] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = times.total()
    return {
        "milliseconds per step": round(total / 1e3 / STEPS, 1),
        "share": {name: round(time / total, 4) for name, time in times.most_common(SHOWN)},
    }
