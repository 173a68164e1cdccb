"""The debug switches train as they say, and what they touch is marked."""

import pandas as pd
import pytest

from pipeline.artifacts import read_json
from pipeline.models.saved import load_description
from tests.conftest import read_yaml, with_overrides, write_yaml
from tests.training.conftest import STUDENT, TEACHER, arguments

CURVES = "results/digits/curves/resnet20-full-precision-1.csv"
FEW_STEPS = {
    "teacher.epochs": 2,
    "teacher.optimizer": "sgd",
    "teacher.learning_rate": 1e-30,
    "augmentation.crop_padding": 0,
}
"""Steps too small to change a weight: an epoch tells which images it saw."""


def train(make_workplace, run_here, overrides):
    folder = make_workplace(overrides=FEW_STEPS | overrides)
    end = run_here("teacher", folder, *arguments("teacher"))
    assert end.code == 0, end.err
    return folder, pd.read_csv(folder / CURVES)


def test_a_usual_training_is_not_marked(trained):
    assert load_description(trained / TEACHER).debug is False
    assert "debug" not in pd.read_csv(trained / CURVES)


def test_two_batches_of_each_epoch(make_workplace, run_here):
    folder, curves = train(make_workplace, run_here, {"debug.batches": 2})
    assert load_description(folder / TEACHER).debug is True
    assert ((curves["train_top1"] * 52).round(3) % 1 == 0).all(), (
        "52 images of 102, in two of four batches"
    )
    assert curves["loss"].nunique() == 2, "another epoch shows other images"
    params = read_json(folder / TEACHER / "model.json")["params"]
    assert params["debug"] == {"batches": 2, "overfit_one_batch": False}


def test_the_same_batch_again_and_again(make_workplace, run_here):
    folder, curves = train(make_workplace, run_here, {"debug.overfit_one_batch": True})
    assert load_description(folder / TEACHER).debug is True
    assert curves["loss"].nunique() == 1, "no other image in another epoch"


def test_what_comes_of_a_marked_teacher_is_marked(make_workplace, run_here):
    folder, _ = train(make_workplace, run_here, {"debug.batches": 2})
    assert pd.read_csv(folder / CURVES)["debug"].all()
    params = read_yaml(folder / "params.yaml")
    write_yaml(folder / "params.yaml", with_overrides(params, {"debug.batches": 0}))
    end = run_here("finetune", folder, *arguments("finetune", teacher=TEACHER))
    assert end.code == 0, end.err
    assert load_description(folder / STUDENT).debug is True


@pytest.mark.slow
def test_one_batch_can_be_learned_by_heart(make_workplace, run_here):
    overrides = {
        "debug.overfit_one_batch": True,
        "debug.batches": 20,
        "teacher.epochs": 4,
        "teacher.optimizer": "adam",
        "teacher.learning_rate": 0.01,
    }
    folder = make_workplace(overrides=overrides)
    assert run_here("teacher", folder, *arguments("teacher")).code == 0
    curves = pd.read_csv(folder / CURVES)
    assert curves["train_top1"].iloc[-1] > 0.99
    assert curves["validation_top1"].iloc[-1] < 0.9
