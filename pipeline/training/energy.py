"""Energy a training takes, where the platform tells it; elsewhere nothing is claimed."""

from pathlib import Path

import torch

RAPL = Path("/sys/class/powercap")


def energy_joules(device: torch.device) -> float | None:
    """Energy counter of the GPU (NVML) or of the CPU packages (RAPL), in joules since some start.

    Other work on the same chip is counted too. None: the platform does not tell it, or not to this
    user.
    """
    return _nvml(device) if device.type == "cuda" else _rapl()


def _nvml(device: torch.device) -> float | None:
    try:
        import pynvml  # noqa: PLC0415 -- optional, comes with some installations of the driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(device.index or 0)
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except pynvml.NVMLError:
        return None


def _rapl() -> float | None:
    try:
        counters = [path.read_text() for path in RAPL.glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(map(int, counters)) / 1e6 if counters else None
