"""A teacher whose weights are read: torchvision's network, mimicked and distilled in two steps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipeline.artifacts import read_json, read_tensors, sha256, write_tensors
from pipeline.models.saved import load_description
from pipeline.reporting.loading import load_results
from tests.conftest import ROOT, read_yaml, run_in_process, with_overrides, write_yaml
from tests.training.test_bad_cases import assert_one_line

CLASSES = ("n01", "n02", "n03")
TEACHER = "models/tiny/torchvision_resnet18-full-precision-1"
STEP_ONE = "models/tiny/imagenet_resnet18-complete-step-one-1"
STUDENT = "models/tiny/imagenet_resnet18-complete-1"
SCHEDULE = {"epochs": 1, "batch_size": 8}
TINY = {
    "data.location": "images",
    "data.image_size": 32,
    "data.validation": 0.25,
    "streaming.resize": 36,
    "evaluation.bootstrap_resamples": 50,
    "pretrained": {"weights": "teacher.safetensors"},
    **{
        f"{phase}.{key}": value
        for phase in ("teacher", "step_one", "step_two")
        for key, value in SCHEDULE.items()
    },
    "step_one.initialize": "random",
    "compute.precision": "float32",
}


def arguments(network: str, out: str) -> list[object]:
    places = ["--params", "params.yaml", "--data", "data/tiny", "--results", "results/tiny"]
    return [*places, "--network", network, "--seed", 1, "--out", out]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Class folders with their index, and weights for three classes."""
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("pretrained")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for channel, name in enumerate(CLASSES):
            place = folder / "images" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                pixels[:, :, channel] //= 4
                Image.fromarray(pixels).save(place / f"{index}.JPEG")
    params = read_yaml(ROOT / "tables/imagenette/params.yaml")
    write_yaml(folder / "params.yaml", with_overrides(params, TINY))
    torch.manual_seed(0)
    weights = resnet18(num_classes=len(CLASSES)).state_dict()
    write_tensors(folder / "teacher.safetensors", weights)
    prepared = run_in_process("prepare", folder, "--params", "params.yaml", "--out", "data/tiny")
    assert prepared == 0
    return folder


@pytest.mark.slow
def test_a_student_of_a_pretrained_teacher_takes_two_steps(folder, run_here):
    assert (
        run_here(
            "teacher", folder, *arguments("torchvision_resnet18", TEACHER), "--pretrained"
        ).code
        == 0
    )
    given = read_tensors(folder / "teacher.safetensors")
    for which in ("best", "last"):
        saved = read_tensors(folder / TEACHER / f"{which}.safetensors")
        assert saved.keys() == given.keys()
        assert all(torch.equal(saved[name], tensor) for name, tensor in given.items())
    description = load_description(folder / TEACHER)
    assert (description.pretrained, description.best_epoch) == (True, 0)
    made = read_json(folder / f"results/tiny/provenance/{Path(TEACHER).name}.json")["training"]
    assert made["weights"] == "teacher.safetensors"
    assert made["weights_sha256"] == sha256(folder / "teacher.safetensors")
    curves = pd.read_csv(folder / "results/tiny/curves" / f"{Path(TEACHER).name}.csv")
    assert curves["epoch"].tolist() == [0]
    assert curves["validation_top1"].item() == pytest.approx(description.validation_top1)

    losses = ["--losses", "distillation", "mimicking", "kurtosis"]
    for step in (
        ["--step", "one", "--row", "complete-step-one", "--out", STEP_ONE],
        ["--step", "two", "--row", "complete", "--out", STUDENT, "--step-one", STEP_ONE],
    ):
        options = [*arguments("imagenet_resnet18", ""), "--teacher", TEACHER, *losses, *step]
        assert run_here("binarize", folder, *options).code == 0
    for cell in (TEACHER, STUDENT):
        options = ["--params", "params.yaml", "--data", "data/tiny", "--results", "results/tiny"]
        options += ["--model", cell, "--reference", TEACHER]
        assert run_here("evaluate", folder, *options).code == 0
    details = read_json(folder / "results/tiny/details" / f"{Path(STUDENT).name}.json")
    assert (details["step"], details["start"]) == ("two", Path(STEP_ONE).name)
    assert details["reference"] == details["teacher"] == Path(TEACHER).name
    assert all(layer["teacher_distance"] > 0 for layer in details["layers"])
    results = load_results(folder / "results/tiny")
    assert [cell.details.pretrained for cell in results.cells] == [False, True]


@pytest.mark.slow
def test_resnet34_teaches_resnet18_and_is_a_student_with_released_targets(folder, run_here):
    params = read_yaml(folder / "params.yaml")
    write_yaml(
        folder / "released.yaml", with_overrides(params, {"kurtosis.target": "released imagenet"})
    )

    def train(stage: str, network: str, row: str, *options: object) -> str:
        out = f"models/both/{network}-{row}-1"
        given = [*arguments(network, out), "--params", "released.yaml", *options]
        end = run_here(stage, folder, *given)
        assert end.code == 0, end.err
        return out

    small, large = "imagenet_resnet18", "imagenet_resnet34"
    teachers = {name: train("teacher", name, "full-precision") for name in (small, large)}
    losses = ["--losses", "distillation", "mimicking", "kurtosis"]
    row = ["--step", "one", "--row", "complete-step-one", *losses, "--distiller", teachers[large]]
    student = train("binarize", small, "complete-step-one", *row, "--teacher", teachers[small])
    described = load_description(folder / student)
    assert (described.teacher, described.distiller) == tuple(
        Path(teachers[name]).name for name in (small, large)
    )
    student = train("binarize", large, "complete-step-one", *row, "--teacher", teachers[large])
    table = pd.read_csv(folder / "results/tiny/kurtosis" / f"{Path(student).name}.csv")
    first = table[table["epoch"] == 1].set_index("layer")["target"]
    assert len(first) == 35
    assert first["layer3.5.conv2"] == first["layer3.1.conv2"] == 1.4
    curves = pd.read_csv(folder / "results/tiny/curves" / f"{Path(student).name}.csv")
    assert curves[["kurtosis", "distillation", "mimicking"]].gt(0).all(axis=None)


def test_published_weights_need_the_statistics_they_were_trained_with(folder, run_here):
    params = read_yaml(folder / "params.yaml")
    path = folder / "download.yaml"
    write_yaml(path, with_overrides(params, {"pretrained.weights": "download"}))
    options = arguments("torchvision_resnet18", "models/tiny/download")
    options[1] = path.name
    end = run_here("teacher", folder, *options, "--pretrained")
    assert_one_line(end, "expect images with streaming.statistics: imagenet, these have their own")
    assert not (folder / "models/tiny/download").exists()


def test_pretrained_weights_of_other_classes_write_nothing(folder, run_here):
    weights = folder / "teacher.safetensors"
    before = weights.read_bytes()
    state = read_tensors(weights)
    write_tensors(weights, state | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)})
    out = "models/tiny/other"
    try:
        end = run_here("teacher", folder, *arguments("torchvision_resnet18", out), "--pretrained")
    finally:
        weights.write_bytes(before)
    assert_one_line(end, "teacher.safetensors: is of 7 classes, the data has 3")
    assert not (folder / out).exists()


def test_a_student_does_not_start_from_a_teacher_of_another_network(folder, run_here):
    params = read_yaml(folder / "params.yaml")
    write_yaml(folder / "other.yaml", with_overrides(params, {"step_one.initialize": "teacher"}))
    run_here("teacher", folder, *arguments("torchvision_resnet18", TEACHER), "--pretrained")
    options = [*arguments("imagenet_resnet18", STEP_ONE), "--params", "other.yaml"]
    options += [
        "--step",
        "one",
        "--row",
        "complete-step-one",
        "--losses",
        "distillation",
        "--teacher",
        TEACHER,
    ]
    end = run_here("binarize", folder, *options)
    found = "its network is 'torchvision_resnet18', that of this network is 'imagenet_resnet18'"
    assert_one_line(end, f"teacher {TEACHER}: {found}")


def test_a_network_that_is_not_torchvisions_is_not_read(folder, run_here):
    end = run_here("teacher", folder, *arguments("imagenet_resnet18", "models/x"), "--pretrained")
    assert_one_line(
        end, "network: imagenet_resnet18 is trained; weights are read for torchvision_* alone"
    )


def test_weights_must_be_named(folder, run_here):
    params = read_yaml(folder / "params.yaml")
    del params["pretrained"]
    write_yaml(folder / "unnamed.yaml", params)
    options = [*arguments("torchvision_resnet18", "models/x"), "--params", "unnamed.yaml"]
    end = run_here("teacher", folder, *options, "--pretrained")
    assert_one_line(end, "pretrained: the section pretrained is missing from the params")
