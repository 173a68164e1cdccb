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


def joules_since(before: float | None, device: torch.device) -> float | None:
    """Energy spent since `energy_joules` gave `before`; None if either is not told.

    Also where the counter has started anew, as those of RAPL do every so often.
    """
    now = energy_joules(device)
    return now - before if before is not None and now is not None and now >= before else None


def _nvml(device: torch.device) -> float | None:
    try:
        import pynvml  # noqa: PLC0415 -- optional, comes with some installations of the driver
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid  # NVML's numbers are others
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    except pynvml.NVMLError:
        return None


def _rapl() -> float | None:
    try:
        counters = [path.read_text() for path in RAPL.glob("intel-rapl:?/energy_uj")]
    except OSError:
        return None
    return sum(map(int, counters)) / 1e6 if counters else None
