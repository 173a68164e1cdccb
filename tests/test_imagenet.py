"""The two-step pipeline of ImageNet: what reruns after a change."""

import pytest

from tests.clone import Clone, stages_run
from tests.conftest import ROOT, read_yaml, with_overrides, write_yaml

FOLDER = "tables/imagenette"
PIPELINE = f"{FOLDER}/dvc.yaml"
OUTPUTS = f"""
from dvc.repo import Repo
for stage in Repo().stage.collect("{PIPELINE}"):
    print(*(out.def_path.removeprefix("../../") for out in stage.outs))
"""
FEW = {"seeds": [1], "ablation_seeds": []}
STEP_ONE, STEP_TWO = "complete-step-one@resnet18-1", "complete@resnet18-1"


@pytest.fixture(scope="module")
def as_if_run(tmp_path_factory) -> Clone:
    """A clone in which DVC believes that every stage was run: its outputs are placeholders.

    One network and one seed, whatever is committed.
    """
    clone = Clone(tmp_path_factory.mktemp("imagenet") / "clone", f"{FOLDER}/params.yaml", {}, FEW)
    for out in clone.run("python", "-c", OUTPUTS).split():
        path = clone.folder / out
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(out)
    clone.run("dvc", "commit", "--force", PIPELINE)
    return clone


def stale(clone: Clone, changes: dict) -> set[str]:
    """The stages that other parameters make stale; those that follow wait for their outputs."""
    path = clone.folder / FOLDER / "params.yaml"
    before = path.read_text()
    write_yaml(path, with_overrides(read_yaml(path), changes))
    try:
        output = clone.run("dvc", "repro", "--dry", PIPELINE)
    finally:
        path.write_text(before)
    ran = {name.removeprefix(f"{PIPELINE}:") for name in stages_run(output)}
    return ran - {"validate", "inventory@images"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"step_two.learning_rate": 0.00123}, {STEP_TWO, "binary@resnet18-1"}),
        ({"step_one.learning_rate": 0.00123}, {STEP_ONE, "binary-step-one@resnet18-1"}),
        ({"student.learning_rate": 0.00123}, set()),
        ({"mimicking.weight": 123.0}, {STEP_ONE, STEP_TWO}),
        ({"kurtosis.target": 1.57}, {"finetune@torchvision_resnet18-1", STEP_ONE, STEP_TWO}),
    ],
    ids=lambda value: next(iter(value), "nothing") if isinstance(value, dict) else "",
)
def test_what_a_changed_parameter_makes_stale(as_if_run, changes, expected):
    report = {"report"} if changes else set()  # it shows every parameter
    assert stale(as_if_run, changes) == expected | report


def test_the_whole_table_is_trained_as_the_method_says():
    """METHOD: the optimizer, the decay rule, the targets and the weights of the losses [released];
    ReActNet's two steps, their epochs, batch, learning rate and weight decay [field]."""
    full = ROOT / "tables/imagenet"
    params, cells = read_yaml(full / "params.yaml"), read_yaml(full / "cells.yaml")
    for step, weight_decay in (("step_one", 1e-5), ("step_two", 0.0)):
        found = params[step]
        assert (found["optimizer"], found["schedule"], found["decay"]) == (
            "adam",
            "linear",
            "convolutions",
        )
        assert (found["epochs"], found["batch_size"], found["learning_rate"]) == (128, 512, 2.5e-3)
        assert found["weight_decay"] == weight_decay
    assert (params["distillation"]["temperature"], params["distillation"]["weight"]) == (1.0, 0.9)
    assert (params["mimicking"]["weight"], params["kurtosis"]["weight"]) == (200.0, 1.0)
    assert params["kurtosis"]["target"] == "released imagenet"
    assert cells["logit_losses"] == "distillation"
    assert cells["distiller"] == "torchvision_resnet34"
