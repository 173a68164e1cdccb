"""A trained teacher, and trainings started as processes."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.params import Params
from tests.conftest import (
    ROOT,
    TINY,
    read_yaml,
    run_in_process,
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
    assert run_in_process("teacher", folder, *arguments("teacher")) == 0
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
