"""Two processes of torchrun, over gloo, against one process.

As a module it is the program of each process: it trains one step and evaluates, and the main
process writes what came out to the folder given.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch import nn

from pipeline.artifacts import read_json, read_tensors, write_json, write_tensors
from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import Split
from pipeline.device import Execution, configure, select_device
from pipeline.distributed import World, process_group
from pipeline.evaluation.accuracy import mean_loss_and_top1, score
from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.names import LOSSES
from pipeline.training.checkpoint import Scratch
from pipeline.training.interruption import Interruption
from pipeline.training.objective import Objective
from pipeline.training.state import Outcome
from pipeline.training.trainer import Task, Trainer
from tests.clone import Clone
from tests.conftest import ROOT, TINY
from tests.training.conftest import TEACHER, arguments, tiny_params

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
CELL = Path(TEACHER).name
EPOCHS = 8
SECONDS = 240
"""Patience with a busy machine."""
IMAGES = 17
"""Two processes do not divide them."""


def resnet20(seed: int, binary: bool) -> nn.Module:
    """With binary weights, but real activations."""
    torch.manual_seed(seed)
    params = tiny_params({"binarization.activations": False})
    return build(
        Architecture(
            network="resnet20",
            classes=10,
            channels=1,
            image_size=8,
            block="bireal",
            activation="hardtanh",
            downsample="real",
            binarization=params.binarization if binary else None,
        )
    )


def without_batch_statistics(seed: int, binary: bool) -> nn.Module:
    """ResNet-20 with group instead of batch normalization."""
    model = resnet20(seed, binary)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(4, child.num_features))
    return model


def batches(world: World, *, batch_size: int, shuffle: bool) -> ResidentBatches:
    draw = np.random.default_rng(7)
    split = Split(
        images=draw.integers(0, 256, (IMAGES, 1, 8, 8), dtype=np.uint8),
        labels=draw.integers(0, 10, IMAGES),
    )
    return ResidentBatches(
        split,
        [0.5],
        [0.25],
        batch_size=batch_size,
        augmentation=tiny_params().augmentation if shuffle else None,
        seed=1,
        execution=configure(tiny_params().compute, torch.device("cpu"), binary=True),
        world=world,
    )


def train(
    model: nn.Module, teacher: nn.Module, losses: tuple, world: World, execution: Execution
) -> Outcome:
    """One epoch of one step, of rate 1 and without momentum: it adds minus the gradient."""
    params = tiny_params(
        {
            "student.epochs": 1,
            "student.batch_size": IMAGES,
            "student.optimizer": "sgd",
            "student.learning_rate": 1.0,
            "student.momentum": 0.0,
            "student.weight_decay": 0.0,
            "distillation.temperature": 2.0,
        }
    )
    task = Task(
        run=f"digits/{type(model).__name__}",
        model=model,
        distiller=teacher,
        objective=Objective(losses, params, model, mimicked=teacher),
        phase=params.student,
        params=params,
        training=batches(world, batch_size=IMAGES, shuffle=True),
        validation=batches(world, batch_size=4, shuffle=False),
    )
    with Scratch(task.run, "-".join(losses), world) as scratch:
        return Trainer(task, execution, world).run(scratch, Interruption(), lambda history: None)


def program(folder: Path) -> None:
    """What each process does."""
    execution = configure(tiny_params().compute, select_device(), binary=True)
    with process_group(execution.device) as world:
        model, teacher = without_batch_statistics(1, True), without_batch_statistics(2, False)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        trained = train(model, teacher, LOSSES, world, execution)
        step = {name: trained.last[name] - weight for name, weight in before.items()}
        judged = score(model, batches(world, batch_size=4, shuffle=False), execution, world, 10)
        usual = train(resnet20(3, True), teacher, ("cross_entropy",), world, execution)
        if world.is_main:
            result = {
                "size": world.size,
                "row": trained.history.curves[0],
                "confusion": judged.confusion.tolist(),
                "top5_correct": judged.top5_correct,
                "usual": usual.history.curves[0],
            }
            write_json(folder / "result.json", result)
            write_tensors(folder / "step.safetensors", step)
            write_tensors(folder / "usual.safetensors", usual.last)


def torchrun(*command: object, folder: Path, code: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TORCHRUN, *map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    """Folders with what the program wrote as one process and as two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    end = torchrun("-m", "tests.training.test_distributed", two, folder=two, code=ROOT)
    assert end.returncode == 0, end.stderr
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(one)
        patch.delenv("DVC_ROOT", raising=False)
        program(one)
    torch.set_num_threads(threads)
    return one, two


@pytest.mark.slow
def test_first_step_of_two_processes_is_that_of_one(both):
    results = [read_json(folder / "result.json") for folder in both]
    assert [result["size"] for result in results] == [1, 2]
    alone, shared = (result["row"] for result in results)
    for name in ("loss", *LOSSES):
        assert alone[name] > 1e-4
        assert shared[name] == pytest.approx(alone[name], abs=1e-5, rel=0), name
    assert shared["train_top1"] == alone["train_top1"]

    steps = [read_tensors(folder / "step.safetensors") for folder in both]
    assert steps[0].keys() == steps[1].keys()
    for name, step in steps[0].items():
        largest = step.abs().max().item()
        assert largest > 1e-2, name
        torch.testing.assert_close(steps[1][name], step, atol=1e-5 * largest, rtol=0, msg=name)


@pytest.mark.slow
def test_two_processes_count_every_image_once(both):
    alone, shared = (read_json(folder / "result.json") for folder in both)
    assert np.sum(shared["confusion"]) == IMAGES
    assert shared["confusion"] == alone["confusion"]
    assert shared["top5_correct"] == alone["top5_correct"]
    assert shared["row"]["validation_top1"] == alone["row"]["validation_top1"]


@pytest.mark.slow
def test_validation_is_that_of_the_network_that_is_saved(both):
    """Batch statistics differ between the processes; those of the main one count."""
    _, shared = both
    recorded = read_json(shared / "result.json")["usual"]
    model = resnet20(3, True)
    model.load_state_dict(read_tensors(shared / "usual.safetensors"))
    execution = Execution(torch.device("cpu"), None, False, False, True, True)
    loss = top1 = 0.0
    for rank in range(2):  # in the same shares: the loss of a single image is rounded otherwise
        share = batches(World(rank, size=2), batch_size=4, shuffle=False)
        part = sum(len(labels) for _, labels in share.batches(0)) / IMAGES
        mean_loss, mean_top1 = mean_loss_and_top1(model, share, execution, World(0, size=1))
        loss, top1 = loss + part * mean_loss, top1 + part * mean_top1
    assert recorded["validation_loss"] == pytest.approx(loss, rel=1e-5)
    assert recorded["validation_top1"] == round(top1 * IMAGES) / IMAGES


def rank_1(launcher: psutil.Process) -> psutil.Process:
    (process,) = [each for each in launcher.children() if each.environ().get("RANK") == "1"]
    return process


@pytest.mark.slow
def test_training_outlives_a_killed_rank_and_another_number_of_processes(make_workplace, run_here):
    folder = make_workplace(overrides={"teacher.epochs": EPOCHS})
    shutil.rmtree(folder / TEACHER)
    log = folder / "log"
    with log.open("w") as file:
        launched = subprocess.Popen(
            [
                *TORCHRUN,
                "--max-restarts=3",
                "-m",
                "stages.teacher",
                *map(str, arguments("teacher")),
            ],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "code")},
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def wait_for(epoch: int) -> None:
        deadline = time.monotonic() + SECONDS
        mark = f".scratch/digits/{CELL}/*/epoch-{epoch:04d}.sha256"
        while not list(folder.glob(mark)):
            assert launched.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)

    wait_for(2)
    rank_1(psutil.Process(launched.pid)).kill()
    wait_for(5)
    launched.send_signal(signal.SIGTERM)
    assert launched.wait(SECONDS) != 0
    assert f"digits/{CELL}: interrupted in epoch" in log.read_text()
    assert not (folder / TEACHER).exists()

    end = run_here("teacher", folder, *arguments("teacher"))
    assert end.code == 0, end.err
    logs = log.read_text(), end.out
    epochs = [[int(n) for n in re.findall(rf"{CELL} epoch (\d+)/", each)] for each in logs]
    assert 5 <= epochs[0][-1] < epochs[1][0]
    assert epochs[0] + epochs[1] == list(range(1, EPOCHS + 1)), "each trained and told once"
    assert len(pd.read_csv(folder / f"results/digits/curves/{CELL}.csv")) == EPOCHS


@pytest.mark.slow
def test_single_images_are_refused_in_a_line_that_torchrun_ends_with(make_workplace):
    folder = make_workplace(overrides={"teacher.batch_size": 3})
    shutil.rmtree(folder / TEACHER)
    end = torchrun(
        "-m", "stages.teacher", *arguments("teacher"), folder=folder, code=folder / "code"
    )
    assert end.returncode != 0
    line = (
        "error: batch_size is 3, the smallest batch has 3: batch normalization needs at least 2 "
        "images in each process, of which there are 2"
    )
    lines = end.stderr.splitlines()
    assert line in lines
    assert any(line in each for each in lines[-10:])
    assert not (folder / TEACHER).exists()


@pytest.mark.slow
def test_dvc_launches_by_torchrun_and_does_not_tell_it_from_one_process(tmp_path, monkeypatch):
    clone = Clone(tmp_path / "clone", "params.yaml", TINY | {"debug.batches": 1})
    cell = f"teacher@{CELL.replace('-full-precision', '')}"
    launch = "BDBNN_LAUNCH='torchrun --standalone --nproc-per-node=2'"
    output = clone.run("sh", "-c", f"{launch} dvc repro {cell}")
    assert len(re.findall(rf"digits/{CELL} epoch 1/2:", output)) == 1
    made = read_json(clone.folder / f"results/digits/provenance/{CELL}.json")["training"]
    assert made["processes"] == 2
    assert "torchrun" not in (clone.folder / "dvc.lock").read_text()
    assert "up to date" in clone.run("dvc", "status", cell)


if __name__ == "__main__":
    program(Path(sys.argv[1]))
