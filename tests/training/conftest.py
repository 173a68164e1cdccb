"""A trained teacher, and stages run in this process."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from pipeline.errors import run
from pipeline.params import Params
from tests.conftest import (
    ROOT,
    TINY,
    read_yaml,
    run_stage,
    stage_command,
    with_overrides,
    write_yaml,
)

TEACHER = "models/digits/resnet20-full-precision-1"
STUDENT = "models/digits/resnet20-complete-1"
COMPLETE = ("cross_entropy", "distillation", "mimicking", "kurtosis")


def tiny_params(overrides: dict | None = None) -> Params:
    """The tiny digits parameters with dotted overrides."""
    default = read_yaml(ROOT / "params.yaml")
    return Params.model_validate(with_overrides(default, TINY | (overrides or {})))


def arguments(stage: str, **changes: object) -> list[object]:
    """Arguments of the tiny run of a training stage, relative to a workplace."""
    given: dict[str, object] = {
        "params": "params.yaml",
        "data": "data/digits",
        "network": "resnet20",
        "seed": 1,
        "out": TEACHER if stage == "teacher" else STUDENT,
        "results": "results/digits",
    }
    if stage == "binarize":
        given |= {"row": "complete", "losses": COMPLETE, "teacher": TEACHER}
    if stage == "finetune":
        given |= {"row": "kurtosis", "losses": ("cross_entropy", "kurtosis"), "teacher": TEACHER}
    listed: list[object] = []
    for name, value in (given | changes).items():
        listed += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    return listed


def start_stage(stage: str, folder: Path, log: Path, **changes: object) -> subprocess.Popen:
    """Start a training stage in a workplace, with all it says in `log`.

    Coverage does not watch it, which would cost a second: stages run in this process show the same.
    """
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    with log.open("w") as file:
        return subprocess.Popen(
            stage_command(stage, *arguments(stage, **changes)),
            cwd=folder,
            env=environment | {"PYTHONPATH": str(folder / "code")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="session")
def trained(tiny_digits, tmp_path_factory) -> Path:
    """A folder with the tiny digits, their params.yaml and a teacher trained by its stage.

    Its copy of the code stays the same while a test runs, and is part of no Git checkout: what is
    edited or committed meanwhile would start a training afresh and change what it records.
    """
    folder = tmp_path_factory.mktemp("trained")
    for package in ("pipeline", "stages"):
        shutil.copytree(ROOT / package, folder / "code" / package)
    shutil.copytree(tiny_digits, folder / "data/digits")
    shutil.copy(tiny_digits.parent / "params.yaml", folder)
    run_stage("teacher", *arguments("teacher"), cwd=folder)
    return folder


@pytest.fixture
def make_workplace(trained, tmp_path) -> Callable[..., Path]:
    """Makes a folder as `trained`, with dotted overrides in its params.yaml."""

    def make(name: str = "work", overrides: dict | None = None) -> Path:
        folder = tmp_path / name
        shutil.copytree(trained / "data", folder / "data")
        shutil.copytree(trained / TEACHER, folder / TEACHER)
        (folder / "code").symlink_to(trained / "code")
        write_yaml(folder / "params.yaml", tiny_params(overrides).model_dump(mode="json"))
        return folder

    return make


class End(NamedTuple):
    """How a stage ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_here(monkeypatch, capsys) -> Callable[..., End]:
    """Runs a stage in this process and in a folder, and tells how it ended."""
    threads = torch.get_num_threads()
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def call(stage: str, folder: Path, *given: object) -> End:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [stage, *map(str, given)])
        code = 0
        try:
            run(importlib.import_module(f"stages.{stage}").main)
        except SystemExit as end:
            code = end.code
        return End(code, *capsys.readouterr())

    yield call
    torch.set_num_threads(threads)
