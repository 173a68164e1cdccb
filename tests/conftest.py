import contextlib
import copy
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from ruamel.yaml import YAML
from tqdm import tqdm

from pipeline.artifacts import sha256
from pipeline.errors import run

tqdm.monitor_interval = 0  # its thread ended test processes: "unexpected error" of a futex
ROOT = Path(__file__).parents[1]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--kills", type=int, default=2, help="kills of each kind of training in test_kills.py"
    )
    parser.addoption(
        "--emulate", nargs="+", default=[], metavar="CPU",
        help="models of qemu-x86_64 that test_portable.py trains on, for minutes each",
    )  # fmt: skip


def read_yaml(path: Path) -> dict:
    """What DVC reads there."""
    return YAML(typ="safe", pure=True).load(path)


def write_yaml(path: Path, content: dict) -> None:
    """Write as DVC writes."""
    YAML().dump(content, path)


def with_overrides(params: dict, overrides: dict) -> dict:
    """A copy of `params` with dotted keys replaced."""
    changed = copy.deepcopy(params)
    for key, value in overrides.items():
        *sections, name = key.split(".")
        section = changed
        for each in sections:
            section = section[each]
        section[name] = value
    return changed


@contextlib.contextmanager
def largest_file(size: int):
    """No file may grow beyond `size` bytes, as on a disk with so much room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def renew_checksums(folder: Path) -> None:
    """Make model.json of a trained network vouch for the weights that are there."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    for which in content["weights"]:
        content["weights"][which] = sha256(folder / f"{which}.safetensors")
    path.write_text(json.dumps(content))


TINY = {
    "data.image_size": 8,
    "data.limit": 120,
    "teacher.epochs": 2,
    "teacher.batch_size": 32,
    "finetune.epochs": 2,
    "finetune.batch_size": 32,
    "student.epochs": 2,
    "student.batch_size": 32,
    "evaluation.bootstrap_resamples": 50,
    "compute.threads": 1,
    "compute.portable": False,
}
"""The digits run at its smallest: 8x8 pixels, 120 images, two epochs.

compute.portable takes no effect in a process that has computed, as tests have.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: one that came last would leave the other workers idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def write_params(tmp_path):
    """Writes the tiny digits parameters, with dotted overrides, and returns the file."""

    def write(overrides: dict | None = None, name: str = "params.yaml") -> Path:
        path = tmp_path / name
        default = read_yaml(ROOT / "params.yaml")
        write_yaml(path, with_overrides(default, TINY | (overrides or {})))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_digits(tmp_path_factory) -> Path:
    """120 digits of 8x8 pixels, prepared by the stage."""
    folder = tmp_path_factory.mktemp("tiny")
    params = folder / "params.yaml"
    write_yaml(params, with_overrides(read_yaml(ROOT / "params.yaml"), TINY))
    assert run_in_process("prepare", folder, "--params", params, "--out", "digits") == 0
    return folder / "digits"


def stage_command(stage: str, *arguments: object) -> list[str]:
    """The command line of a stage, in this interpreter."""
    return [sys.executable, "-m", f"stages.{stage}", *map(str, arguments)]


def run_stage(stage: str, *arguments: object, cwd: Path, **options) -> subprocess.CompletedProcess:
    """Run a stage in `cwd`, whatever its end."""
    import os

    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        stage_command(stage, *arguments),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=options.pop("check", True),
        **options,
    )


def run_in_process(stage: str, folder: Path, *arguments: object, package: str = "stages") -> int:
    """Exit code of a stage that runs in this process and in `folder`: torch is there already."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        patch.setattr(sys, "argv", [stage, *map(str, arguments)])
        try:
            run(importlib.import_module(f"{package}.{stage}").main)
        except SystemExit as end:
            return end.code
        finally:
            torch.set_num_threads(threads)
    return 0


class End(NamedTuple):
    """How a stage ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_here(capsys) -> Callable[..., End]:
    """As `run_in_process`, and tells what the stage printed."""
    return lambda *given, **options: End(run_in_process(*given, **options), *capsys.readouterr())


def help_of(stage: str, monkeypatch, capsys) -> str:
    """What `python -m stages.<stage> --help` prints."""
    monkeypatch.setattr(sys, "argv", [f"stages.{stage}", "--help"])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"stages.{stage}").main()
    assert end.value.code == 0
    return capsys.readouterr().out
