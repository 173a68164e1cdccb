"""Where the time of our step goes, operator by operator."""

from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.workload import Network, OurLoop, Workload

STEPS = 2
SHOWN = 12


def measure(workload: Workload, network: Network) -> dict[str, Any]:
    """Shares of the operators that take longest in a step of the row complete, largest first.

    A share is of the time in which operators ran, their callees' not counted; of the GPU's time on
    a GPU. What torch.compile fused is named by the graph it is in.
    """
    loop = OurLoop(workload, network, "complete", STEPS)
    loop.epoch()
    on_gpu = workload.arithmetic.device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiler:
        loop.epoch()
    times = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    total = sum(times.values())
    longest = sorted(times, key=lambda name: -times[name])[:SHOWN]
    return {
        "milliseconds per step": round(total / 1e3 / STEPS, 1),
        "share": {name: round(times[name] / total, 4) for name in longest},
    }
