"""What made a result: code revision, versions, hardware, execution.

Nothing here differs between two runs of the same revision on the same machine (no times, no
paths), so that results which carry it repeat to the byte.
"""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline.device import Execution

ROOT = Path(__file__).resolve().parents[1]
CODE = ("pipeline", ":(exclude)pipeline/reporting", "stages", ":(exclude)stages/report.py")
"""What can change a trained network or its evaluation, as Git pathspecs."""
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "dvc", "safetensors")


def provenance(execution: Execution) -> dict[str, Any]:
    """Revision, Python and package versions, hardware and execution of this process, as JSON."""
    device = execution.device
    return {
        **_revision(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "precision": "bfloat16" if execution.autocast else "float32",
        "compiled": execution.compile,
        "channels_last": execution.channels_last,
        "deterministic": execution.deterministic,
    }


def _revision() -> dict[str, Any]:
    """The last commit that changed the code, and whether the code that ran is the code of HEAD.

    A later commit that leaves the code alone (results, text) gives the same answer, hence the same
    bytes. Outside a checkout (a plain copy on a GPU machine) BDBNN_REVISION may name the revision.
    """
    revision = _git("log", "-1", "--format=%H", "--", *CODE)
    if not revision:
        return {"revision": os.environ.get("BDBNN_REVISION", "unknown"), "clean": None}
    return {"revision": revision, "clean": _git("status", "--porcelain", "--", *CODE) == ""}


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
