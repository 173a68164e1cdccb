"""compute.portable on processors of other makers, which qemu-x86_64 emulates without AVX512."""

import shutil
import sys
from pathlib import Path

import pytest

from pipeline.artifacts import sha256
from tests.training.conftest import STUDENT, TEACHER, start_stage

EMULATOR = "qemu-x86_64"
NETWORKS = {"teacher": TEACHER, "binarize": STUDENT}
SMALLEST = {
    "compute.portable": True,
    "debug.batches": 2,
    "teacher.epochs": 1,
    "student.epochs": 1,
    "student.batch_size": 16,
}


def test_emulated_processors_train_the_same_bits(request, make_workplace, tmp_path):
    models = request.config.getoption("--emulate")
    if not models:
        pytest.skip("--emulate names no model of a CPU")
    assert shutil.which(EMULATOR), f"{EMULATOR} is not installed (Debian: qemu-user)"
    python = str(Path(sys.executable).resolve())
    launchers = {"none": [sys.executable]} | {
        model: [EMULATOR, "-cpu", model, "-0", sys.executable, python] for model in models
    }
    found = {}
    for model, launcher in launchers.items():
        folder = make_workplace(model, SMALLEST)
        for stage, out in NETWORKS.items():
            log = tmp_path / f"{stage}-{model}.log"
            training = start_stage(stage, folder, log, launcher, out=f"{out}-here")
            assert training.wait() == 0, log.read_text()
        found[model] = [
            sha256(folder / f"{out}-here" / "last.safetensors") for out in NETWORKS.values()
        ]
    assert found == dict.fromkeys(launchers, found["none"])
