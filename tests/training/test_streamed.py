"""The stages on images that are streamed."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import read_json, read_tensors
from pipeline.data.loading.dataset import open_prepared
from pipeline.models.saved import load_description
from tests.training.conftest import STREAMED, STUDENT, TEACHER, arguments, start_stage

CELL = Path(TEACHER).name
EPOCHS = STREAMED["teacher.epochs"]
SECONDS = 120
"""Patience with a busy machine."""


def train(run_here, folder: Path, stage: str = "teacher") -> str:
    end = run_here(stage, folder, *arguments(stage))
    assert end.code == 0, end.err
    return end.out


def final_files(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob(f"{TEACHER}/*.safetensors"), *folder.glob("results/digits/[ck]*/*.csv")]
    assert len(paths) == 4
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_teacher_student_and_evaluation(streamed, run_here, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "1")
    folder = streamed()
    train(run_here, folder)
    curves = pd.read_csv(folder / f"results/digits/curves/{CELL}.csv")
    assert curves["validation_top1"].max() > 0.8
    train(run_here, folder, "binarize")
    student = pd.read_csv(folder / f"results/digits/curves/{Path(STUDENT).name}.csv")
    assert (student["distillation"] > 0).all()
    options = {"params": "params.yaml", "data": "data/digits", "results": "out"}
    options |= {"model": TEACHER, "reference": TEACHER}
    listed = [word for name, value in options.items() for word in (f"--{name}", value)]
    end = run_here("evaluate", folder, *listed)
    assert end.code == 0, end.err
    assert read_json(folder / f"out/{CELL}.json")["top1"] > 0.8
    details = read_json(folder / f"out/details/{CELL}.json")
    assert [sum(map(int, line.split())) for line in details["confusion"]] == [9, 9]
    assert details["manifest"]["streaming"]["resize"] == 10
    shown = read_tensors(folder / f"out/feature_maps/{CELL}.safetensors")["image"]
    monkeypatch.chdir(folder)  # images lie where the params say, from there
    assert np.array_equal(shown, open_prepared(folder / "data/digits").pixels("test", 0))


@pytest.mark.parametrize("switch", [{"batches": 1}, {"overfit_one_batch": True}])
def test_debug_switches(streamed, run_here, monkeypatch, switch):
    monkeypatch.setenv("BDBNN_WORKERS", "1")
    few_steps = {
        "teacher.epochs": 2,
        "teacher.optimizer": "sgd",
        "teacher.learning_rate": 1e-30,
    }
    folder = streamed(overrides=few_steps | {f"debug.{key}": on for key, on in switch.items()})
    train(run_here, folder)
    assert load_description(folder / TEACHER).debug is True
    losses = pd.read_csv(folder / f"results/digits/curves/{CELL}.csv")["loss"]
    assert losses.nunique() == (1 if "overfit_one_batch" in switch else 2)


def test_an_image_that_vanished_ends_the_training_in_one_line(streamed, run_here, monkeypatch):
    monkeypatch.setenv("BDBNN_WORKERS", "1")
    folder = streamed()
    for path in (folder / "images/train/dark").iterdir():
        path.unlink()
    end = run_here("teacher", folder, *arguments("teacher"))
    assert end.code == 1
    assert end.err.splitlines()[-1].startswith("error: images/train/dark/")
    assert end.err.endswith(".jpg: could not be read: No such file or directory\n")
    assert "Traceback" not in end.err
    assert not (folder / TEACHER).exists()


@pytest.mark.slow
def test_killed_and_resumed_with_other_workers_ends_in_the_same_bytes(
    streamed, run_here, monkeypatch
):
    monkeypatch.setenv("BDBNN_WORKERS", "0")
    alone = streamed("alone")
    train(run_here, alone)

    stopped = alone.with_name("stopped")
    shutil.copytree(alone, stopped, symlinks=True)
    for left in (TEACHER, "results", ".scratch"):
        shutil.rmtree(stopped / left, ignore_errors=True)
    for epoch, number, workers in ((2, signal.SIGKILL, "2"), (4, signal.SIGTERM, "1")):
        monkeypatch.setenv("BDBNN_WORKERS", workers)
        process = start_stage("teacher", stopped, stopped / "log")
        deadline = time.monotonic() + SECONDS
        while not list(stopped.glob(f".scratch/digits/{CELL}/*/epoch-{epoch:04}.sha256")):
            assert process.poll() is None, (stopped / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        try:
            assert process.wait(SECONDS) == (75 if number == signal.SIGTERM else -number)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert not (stopped / TEACHER).exists()

    monkeypatch.setenv("BDBNN_WORKERS", "3")
    output = train(run_here, stopped)  # at once: nobody holds the locks any more
    assert f"{CELL} epoch 4/" not in output
    assert f"{CELL} epoch {EPOCHS}/{EPOCHS}" in output
    assert final_files(stopped) == final_files(alone)
