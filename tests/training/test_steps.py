"""Two steps, real weights first, then binary; and a distiller that is not the teacher."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from pipeline.artifacts import read_json, read_tensors, write_json, write_tensors
from pipeline.models.layers import binary_convolutions
from pipeline.models.saved import load_description, load_trained
from pipeline.training.interruption import EXIT_CODE
from pipeline.training.progress import Progress
from pipeline.training.trainer import Trainer
from tests.conftest import renew_checksums, run_in_process, write_yaml
from tests.training.conftest import STUDENT, TEACHER, arguments, tiny_params
from tests.training.test_bad_cases import assert_nothing_written, assert_one_line
from tests.training.test_resume import final_files

STEP_ONE = "models/digits/resnet20-complete-step-one-1"
DISTILLER = "models/digits/vgg_small-full-precision-1"
SCHEDULE = {
    "epochs": 3,
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.003,
    "momentum": 0.9,
    "weight_decay": 1e-5,
    "schedule": "linear",
    "decay": "convolutions",
}
TWO_STEPS = {
    "binarization.sign_gradient": "polynomial",
    "binarization.weight_scale": "mean_absolute",
    "step_one": SCHEDULE | {"initialize": "random"},
    "step_two": SCHEDULE | {"weight_decay": 0.0},
}


def step_one(**changes: object) -> list[object]:
    return arguments("binarize", step="one", out=STEP_ONE, row="complete-step-one", **changes)


def step_two(**changes: object) -> list[object]:
    return arguments("binarize", step="two", **({"step_one": STEP_ONE} | changes))


@pytest.fixture(scope="session")
def stepped(trained, tmp_path_factory) -> Path:
    """As `trained`, with the parameters of two steps, step one done and another network trained."""
    folder = tmp_path_factory.mktemp("stepped")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    write_yaml(folder / "params.yaml", tiny_params(TWO_STEPS).model_dump(mode="json"))
    assert run_in_process("binarize", folder, *step_one()) == 0
    brief = tiny_params({"debug.batches": 1, "teacher.epochs": 1}).model_dump(mode="json")
    write_yaml(folder / "brief.yaml", brief)
    other = arguments("teacher", params="brief.yaml", network="vgg_small", out=DISTILLER)
    assert run_in_process("teacher", folder, *other) == 0
    return folder


@pytest.fixture
def copy(stepped, tmp_path) -> Callable[[str], Path]:
    """Makes a copy of `stepped` without results."""

    def make(name: str = "work") -> Path:
        ignored = shutil.ignore_patterns("results", "code")
        shutil.copytree(stepped, tmp_path / name, ignore=ignored)
        return tmp_path / name

    return make


def test_step_one_has_real_weights_and_binary_activations(stepped):
    network, description = load_trained(stepped / STEP_ONE, "last")
    layers = binary_convolutions(network)
    assert len(layers) == 18
    for layer in layers.values():
        assert layer.quantized_weight() is layer.weight
        assert layer.quantized_input(torch.randn(4)).abs().eq(1).all()
    assert (description.step, description.start) == ("one", None)
    curves = pd.read_csv(stepped / "results/digits/curves" / f"{Path(STEP_ONE).name}.csv")
    assert len(curves) == 3
    assert curves["sign_flips"].isna().all(), "there are no binary weights"


def test_step_two_starts_from_the_last_weights_of_step_one(copy, run_here, monkeypatch):
    folder = copy()
    last = read_tensors(folder / STEP_ONE / "last.safetensors")
    write_tensors(
        folder / STEP_ONE / "best.safetensors",
        {name: torch.zeros_like(tensor) for name, tensor in last.items()},
    )
    first = {}
    train = Trainer.run

    def look(trainer, *given):
        state = trainer._model.state_dict()
        first.update({name: tensor.clone() for name, tensor in state.items()})
        return train(trainer, *given)

    monkeypatch.setattr(Trainer, "run", look)
    assert run_here("binarize", folder, *step_two()).code == 0
    assert first.keys() == last.keys()
    assert all(torch.equal(first[name], tensor) for name, tensor in last.items())
    network, description = load_trained(folder / STUDENT, "last")
    assert (description.step, description.start) == ("two", Path(STEP_ONE).name)
    for layer in binary_convolutions(network).values():
        assert len(layer.quantized_weight()[0].unique()) == 2
    curves = pd.read_csv(folder / "results/digits/curves" / f"{Path(STUDENT).name}.csv")
    assert curves["learning_rate"].iloc[0] == SCHEDULE["learning_rate"]
    assert curves["sign_flips"].gt(0).all()


def stop_after_an_epoch(run_here, monkeypatch, folder, *given) -> None:
    report = Progress.epoch

    def stop(progress, row, images_per_second):
        report(progress, row, images_per_second)
        handler = signal.getsignal(signal.SIGTERM)
        assert callable(handler), "the training must have set its own"
        handler(signal.SIGTERM, None)  # a signal itself ended the process that runs the suite

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        assert run_here("binarize", folder, *given).code == EXIT_CODE


def test_a_killed_step_two_ends_in_the_bytes_of_an_uninterrupted_one(copy, run_here, monkeypatch):
    alone, stopped = copy("alone"), copy("stopped")
    given = step_two(distiller=DISTILLER)
    assert run_here("binarize", alone, *given).code == 0
    for _ in range(2):
        stop_after_an_epoch(run_here, monkeypatch, stopped, *given)
    end = run_here("binarize", stopped, *given)
    assert "epoch 3/3" in end.out and "epoch 2/3" not in end.out
    assert final_files(stopped) == final_files(alone)


@pytest.mark.parametrize("changed", [f"{STEP_ONE}/last", f"{DISTILLER}/best"])
def test_a_step_with_other_inputs_starts_fresh(copy, run_here, monkeypatch, changed):
    folder = copy()
    given = step_two(distiller=DISTILLER)
    stop_after_an_epoch(run_here, monkeypatch, folder, *given)
    path = folder / f"{changed}.safetensors"
    write_tensors(path, {name: (t * 1.01).to(t.dtype) for name, t in read_tensors(path).items()})
    renew_checksums(path.parent)
    assert "epoch 1/3" in run_here("binarize", folder, *given).out


def test_another_network_may_be_the_distiller(copy, run_here):
    """A distiller that is the teacher by another name changes nothing, another network does."""
    folder = copy()
    shutil.copytree(folder / TEACHER, folder / "models/digits/twin")
    weights = []
    for distiller in ({}, {"distiller": "models/digits/twin"}, {"distiller": DISTILLER}):
        assert run_here("binarize", folder, *step_two(**distiller)).code == 0
        weights.append((folder / STUDENT / "last.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    description = load_description(folder / STUDENT)
    assert description.teacher == Path(TEACHER).name
    assert description.distiller == Path(DISTILLER).name


def test_a_distiller_of_other_classes(copy, run_here):
    folder = copy()
    description = read_json(folder / DISTILLER / "model.json")
    description["architecture"]["classes"] = 7
    write_json(folder / DISTILLER / "model.json", description)
    end = run_here("binarize", folder, *step_two(distiller=DISTILLER))
    assert_one_line(end, f"distiller {DISTILLER}: its classes is 7, that of this network is 10")
    assert_nothing_written(folder)


BAD = {
    "nothing to start from": (
        arguments("binarize", step="two"),
        "step: two needs the folder that step one wrote",
    ),
    "a start that is not used": (
        arguments("binarize", step_one=STEP_ONE),
        f"step: single does not start from step one ({STEP_ONE}); two does",
    ),
    "another architecture": (
        step_two(step_one=DISTILLER),
        f"step one {DISTILLER}: its network is 'vgg_small', that of this network is 'resnet20'",
    ),
    "what is no step one": (
        step_two(step_one=TEACHER),
        f"step one {TEACHER}: its step is 'single', must be 'one'",
    ),
    "nothing there": (step_two(step_one="models/none"), "models/none/model.json: no such file"),
    "no schedule": (
        step_one(params="brief.yaml"),
        "step: one needs the section step_one, the params have none",
    ),
}


@pytest.mark.parametrize(("given", "expected"), BAD.values(), ids=BAD.keys())
def test_a_mistake_in_the_steps_is_one_line(stepped, run_here, given, expected):
    end = run_here("binarize", stepped, *given)
    assert_one_line(end, expected)
    assert not (stepped / STUDENT).exists()


def test_what_is_optional_leaves_no_trace_in_a_record_without_it(trained):
    """Results of the digits and of CIFAR-10 stay as they are, to the byte."""
    description = read_json(trained / TEACHER / "model.json")
    assert not {"step", "start", "distiller", "pretrained"} & description.keys()
    params = description["params"]
    assert not {"step_one", "step_two", "pretrained", "streaming"} & params.keys()
    assert "decay" not in params["teacher"]
