"""The provenance of a result: code revision, versions, hardware, number formats and time.

It is kept in `results/<table>/provenance/<run>.json`, in Git and outside of DVC, so that a run that
gives the same bytes as before changes no hash, and the stages that follow it are skipped.
"""

import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from pipeline.artifacts import read_json, sha256, write_json
from pipeline.device import Execution
from pipeline.errors import UserError, one_line

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "dvc", "safetensors")
STARTED = datetime.now(UTC)


def record(
    results: Path,
    run: str,
    stage: Literal["training", "evaluation"],
    execution: Execution,
    outputs: Mapping[str, Path],
    **more: Any,
) -> None:
    """Record what made `outputs` in `results/provenance/<run>.json`.

    An entry that already describes the same bytes is left as it is, so that it names the run that
    made them first and running a stage again leaves the working tree clean. A damaged file is
    replaced.

    Args:
        results: Folder of the table's results.
        run: Name of the run.
        stage: Which part of the file to write.
        execution: Device and number formats of this process.
        outputs: Files that the run wrote, by the name under which their SHA-256 is recorded.
        more: Facts about this run alone, such as the origin of weights that were read.
    """
    path = results / "provenance" / f"{run}.json"
    known = _known(path)
    checksums = {name: sha256(file) for name, file in outputs.items()}
    if known.get(stage, {}).get("outputs") == checksums:
        return
    entry = {
        **provenance(execution),
        **more,
        "started": STARTED.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "outputs": checksums,
    }
    write_json(path, {**known, stage: entry})


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """The existing entries, by stage; none if the file is missing or damaged."""
    try:
        content = read_json(path)
    except UserError:
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {stage: entry for stage, entry in entries if isinstance(entry, dict)}


def provenance(execution: Execution) -> dict[str, Any]:
    """Revision, Python and package versions, hardware and number formats of this process."""
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
        "processes": dist.get_world_size() if dist.is_initialized() else 1,
        "precision": "bfloat16" if execution.autocast else "float32",
        "compiled": execution.compile,
        "channels_last": execution.channels_last,
        "deterministic": execution.deterministic,
    }


def hardware(device: torch.device) -> str:
    """Name of the GPU, or of the CPU and the instruction set that torch uses on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()} ({torch.backends.cpu.get_cpu_capability()})"


def _revision() -> dict[str, Any]:
    """The commit of HEAD, and whether pipeline/ and stages/ are as they are in it.

    Outside a checkout (a plain copy on a GPU machine) BDBNN_REVISION may name the revision.
    """
    revision = _git("rev-parse", "HEAD")
    if not revision:
        return {"revision": one_line(os.environ.get("BDBNN_REVISION", "unknown")), "clean": None}
    return {
        "revision": revision,
        "clean": _git("status", "--porcelain", "--", "pipeline", "stages") == "",
    }


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
