"""Training that is killed and started again ends in the bytes of one that was left alone."""

import itertools
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import psutil
import pytest

from pipeline.artifacts import sha256
from pipeline.training.interruption import EXIT_CODE
from pipeline.training.progress import Progress
from tests.training.conftest import STUDENT, arguments, start_stage

EPOCHS = 20
CELL = Path(STUDENT).name
PARENT = (
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])",
)
"""A process that starts the training as DVC does, and can be killed without it."""
WHILE_WRITING = "while writing"
KILLS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL, WHILE_WRITING]
"""And one more, while the model is written."""
SECONDS = 120
"""Patience with a busy machine."""


class Training:
    """One start after another of the same cell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs: list[Path] = []
        self._checkpoints = folder / ".scratch" / "digits" / CELL

    def start(self, launcher: Sequence[str] = (sys.executable,)) -> subprocess.Popen:
        self.logs.append(self.folder / f"{len(self.logs)}.log")
        return start_stage("binarize", self.folder, self.logs[-1], launcher)

    def newest_epoch(self) -> int:
        marks = self._checkpoints.glob("*/epoch-*.sha256")
        return max((int(mark.stem.removeprefix("epoch-")) for mark in marks), default=0)

    def published_epochs(self) -> int:
        """The epochs of which the curves are in the results."""
        curves = self.folder / "results/digits/curves" / f"{CELL}.csv"
        return len(pd.read_csv(curves)) if curves.exists() else 0

    def torn_checkpoints(self) -> list[Path]:
        """What a kill between the first byte of a checkpoint and its checksum leaves."""
        parts = list(self._checkpoints.glob("*/.epoch-*.part"))
        saved = self._checkpoints.glob("*/epoch-*.safetensors")
        return parts + [path for path in saved if not path.with_suffix(".sha256").exists()]

    def wait_until(self, condition, process: subprocess.Popen, pause: float = 0.005) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert process.poll() is None, self.logs[-1].read_text()
            assert time.monotonic() < deadline, self.logs[-1].read_text()
            time.sleep(pause)

    def logged_epochs(self) -> list[list[int]]:
        """The epochs each start says it has finished."""
        pattern = re.compile(rf"{CELL} epoch (\d+)/\d+:")
        return [[int(epoch) for epoch in pattern.findall(log.read_text())] for log in self.logs]


def kill(training: Training, how, moments: random.Random) -> None:
    """Start, wait for a new epoch or for the writing of one, kill, and look at what is left."""
    done = training.newest_epoch()
    process = training.start()
    training.wait_until(lambda: training.newest_epoch() > done, process)
    if how == WHILE_WRITING:
        training.wait_until(training.torn_checkpoints, process, pause=0)
    else:
        time.sleep(moments.uniform(0, 0.1))
    number = signal.SIGKILL if how == WHILE_WRITING else how
    process.send_signal(number)
    code = process.wait(SECONDS)
    log = training.logs[-1].read_text()
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else EXIT_CODE), log
    if code == EXIT_CODE:
        assert f"digits/{CELL}: interrupted in epoch" in log
    assert not (training.folder / STUDENT).exists()
    missed = training.newest_epoch() - training.published_epochs()
    assert missed in ((0, 1) if number == signal.SIGKILL else (0,)), log


def kill_while_the_model_is_written(training: Training) -> None:
    folder = training.folder / STUDENT
    process = training.start()
    training.wait_until(lambda: training.newest_epoch() >= EPOCHS - 1, process)
    training.wait_until(lambda: list(folder.parent.glob(f".{CELL}.*")), process, pause=0)
    process.kill()
    process.wait(SECONDS)
    assert not folder.exists()


def final_files(folder: Path) -> dict[str, str]:
    """SHA-256 of everything below models and results but times, which no two runs share."""
    files = [path for top in ("models", "results") for path in (folder / top).rglob("*")]
    return {
        str(path.relative_to(folder)): sha256(path)
        for path in files
        if path.is_file() and path.parent.name != "provenance"
    }


@pytest.mark.slow
def test_killed_training_ends_in_the_bytes_of_an_uninterrupted_one(make_workplace):
    overrides = {"student.epochs": EPOCHS}
    alone = Training(make_workplace("alone", overrides))
    uninterrupted = alone.start()
    training = Training(make_workplace("killed", overrides))
    moments = random.Random(3)
    kills = random.Random(5).sample(KILLS, len(KILLS))
    for how in kills:
        kill(training, how, moments)  # a busy machine may finish a checkpoint before it dies
    kill_while_the_model_is_written(training)
    last = training.start()
    assert last.wait(SECONDS) == 0, training.logs[-1].read_text()

    epochs = list(itertools.chain(*training.logged_epochs()))
    assert len(set(epochs)) == len(epochs), "an epoch that was finished and saved was trained again"
    assert epochs == sorted(epochs)
    assert training.logged_epochs()[-1] == [], "all epochs were done before the model was written"

    assert uninterrupted.wait(SECONDS) == 0, alone.logs[-1].read_text()
    assert alone.logged_epochs() == [list(range(1, EPOCHS + 1))]
    assert final_files(training.folder) == final_files(alone.folder)
    assert {path.name for path in (training.folder / STUDENT).iterdir()} == {
        "model.json",
        "best.safetensors",
        "last.safetensors",
    }
    assert not (training.folder / ".scratch/digits" / CELL).exists()


@pytest.mark.slow
def test_finished_work_of_a_training_whose_parent_was_killed_is_taken_up(make_workplace):
    """DVC removes the outputs that it did not record, and starts the stage again."""
    training = Training(make_workplace("orphaned", {"student.epochs": 3}))
    parent = training.start(PARENT)
    training.wait_until(lambda: training.newest_epoch() > 0, parent)
    (orphan,) = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait(SECONDS)
    orphan.wait(SECONDS)
    expected = final_files(training.folder)
    assert (training.folder / STUDENT).exists(), training.logs[-1].read_text()

    for top in (STUDENT, "results"):
        shutil.rmtree(training.folder / top)
    assert training.start().wait(SECONDS) == 0, training.logs[-1].read_text()
    assert training.logged_epochs()[-1] == [], "was trained twice"
    assert final_files(training.folder) == expected

    assert training.start().wait(SECONDS) == 0, training.logs[-1].read_text()
    assert training.logged_epochs()[-1] == [1, 2, 3], "a forced run trains"


@pytest.mark.parametrize(
    "overrides",
    [
        {"student.optimizer": "adam", "student.learning_rate": 0.001, "student.schedule": "linear"},
        {"binarization.sign_gradient": "polynomial", "kurtosis.start_epoch": 1},
        {"debug.overfit_one_batch": True, "augmentation.horizontal_flip": True},
        {"compute.channels_last": "on", "student.optimizer": "sgd", "student.momentum": 0.9},
        {"compute.channels_last": "on", "student.optimizer": "adam"},
        {"compute.precision": "bfloat16", "compute.fused_optimizer": False},
    ],
    ids=["adam", "late kurtosis loss", "one batch", "sgd", "channels last", "bfloat16"],
)
def test_every_setting_resumes(make_workplace, run_here, monkeypatch, overrides):
    overrides |= {"student.epochs": 3}
    alone = make_workplace("alone", overrides)
    assert run_here("binarize", alone, *arguments("binarize")).code == 0

    stopped = make_workplace("stopped", overrides)
    report = Progress.epoch

    def stop(progress, row, images_per_second):
        report(progress, row, images_per_second)
        signal.raise_signal(signal.SIGTERM)

    for finished in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "epoch", stop)
            end = run_here("binarize", stopped, *arguments("binarize"))
        assert end.code == EXIT_CODE
        assert f"{finished} finished epochs are saved" in end.err
    assert run_here("binarize", stopped, *arguments("binarize")).code == 0
    assert final_files(stopped) == final_files(alone)


@pytest.mark.parametrize("change", ["parameter", "teacher", "code", "words"])
def test_a_changed_run_starts_fresh(make_workplace, run_here, write_params, monkeypatch, change):
    folder = make_workplace()
    code = folder / "changed"
    shutil.copytree(folder / "code", code)
    monkeypatch.setattr("pipeline.programs.ROOT", code)

    def stop(progress, row, images_per_second):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        assert run_here("binarize", folder, *arguments("binarize")).code == EXIT_CODE
    (before,) = filter(Path.is_dir, (folder / ".scratch/digits" / CELL).iterdir())
    if change == "parameter":
        write_params({"student.learning_rate": 0.007}, "work/params.yaml")
    elif change == "teacher":
        assert run_here("teacher", folder, *arguments("teacher", seed=2)).code == 0
    else:
        with (code / "pipeline/losses/kurtosis.py").open("a") as source:
            source.write("CHANGED = True\n" if change == "code" else "# changed\n")
    end = run_here("binarize", folder, *arguments("binarize"))
    assert (f"digits/{CELL} epoch 1/2:" in end.out) == (change != "words")
    assert not before.exists()
