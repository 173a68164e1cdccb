"""A trained teacher, and trainings started as processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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

STREAMED = {
    "streaming": {
        "resize": 10,
        "crop_scale_min": 0.3,
        "unreadable": "refuse",
        "statistics": "measured",
    },
    "data.source": "folders",
    "data.location": "images",
    "augmentation.crop_padding": 0,
    "augmentation.horizontal_flip": True,
    "teacher.epochs": 6,
    "teacher.batch_size": 8,
    "student.batch_size": 8,
}


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


def start_stage(
    stage: str,
    folder: Path,
    log: Path,
    launcher: Sequence[str] = (sys.executable,),
    **changes: object,
) -> subprocess.Popen:
    """Start a training stage in a workplace, with all it says in `log`.

    Coverage does not watch it, which would cost a second: stages run in this process show the same.
    """
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    with log.open("w") as file:
        return subprocess.Popen(
            [*launcher, *stage_command(stage, *arguments(stage, **changes))[1:]],
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


@pytest.fixture
def streamed(trained, tmp_path, run_here):
    """Makes a folder with JPEGs of two classes (dark and bright), indexed, and params."""

    def make(name: str = "work", overrides: dict | None = None) -> Path:
        folder = tmp_path / name
        generator = np.random.default_rng(0)
        for split, count in (("train", 24), ("test", 9)):
            for level, label in ((60, "dark"), (190, "bright")):
                place = folder / "images" / split / label
                place.mkdir(parents=True)
                for number in range(count):
                    pixels = generator.integers(level - 50, level + 50, (12, 14, 3), np.uint8)
                    Image.fromarray(pixels).save(place / f"{number}.jpg")
        (folder / "code").symlink_to(trained / "code")
        params = tiny_params(STREAMED | {"data.limit": 0} | (overrides or {}))
        write_yaml(folder / "params.yaml", params.model_dump(mode="json"))
        end = run_here("prepare", folder, "--params", "params.yaml", "--out", "data/digits")
        assert end.code == 0, end.err
        return folder

    return make
