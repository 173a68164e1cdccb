import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.artifacts import read_json, read_tensors, sha256, write_json, write_tensors
from pipeline.data.prepared import Split, load_manifest, load_split
from pipeline.device import configure
from pipeline.errors import UserError
from pipeline.evaluation.cell import EvaluationPlaces, evaluate_cell
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.models.saved import Description, save_trained
from pipeline.params import load_params
from pipeline.provenance import provenance
from tests.conftest import renew_checksums, run_stage

CPU = torch.device("cpu")

CELL, REFERENCE = "resnet20-complete-3", "resnet20-kurtosis-3"


def split_of_test(folder) -> Split:
    """The test images and labels of prepared data."""
    return load_split(folder, load_manifest(folder), "test")


@pytest.fixture
def params_file(write_params):
    return write_params({"kurtosis.target": "1.4 x17, 1.8"})


@pytest.fixture
def params(params_file):
    return load_params(params_file)


def save(folder, params, row, losses, *, binary, seed=3, **architecture):
    described = {
        "network": "resnet20",
        "classes": 10,
        "channels": 1,
        "image_size": 8,
        "block": "bireal",
        "activation": "hardtanh",
        "downsample": "real",
        "binarization": params.binarization if binary else None,
    }
    description = Description(
        architecture=Architecture(**described | architecture),
        row=row,
        seed=seed,
        losses=losses,
        teacher=REFERENCE if binary else None,
        best_epoch=2,
        validation_top1=0.5,
        debug=False,
        params=params.recorded(),
    )
    states = []
    for index in range(2):
        torch.manual_seed(2 * seed + index)
        states.append(build(description.architecture).state_dict())
    save_trained(folder, description, *states)
    return folder


@pytest.fixture
def places(tiny_digits, params, tmp_path):
    models = tmp_path / "models"
    losses = ("cross_entropy", "distillation", "mimicking", "kurtosis")
    model = save(models / CELL, params, "complete", losses, binary=True)
    reference = save(models / REFERENCE, params, "kurtosis", ("cross_entropy",), binary=False)
    return EvaluationPlaces(tiny_digits, model, reference, tmp_path / "results")


@pytest.fixture(autouse=True)
def _restore_torch():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def written(folder):
    """Everything but the provenance, which names the time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "provenance"
    }


def test_command_and_function_write_the_same_bytes(places, params, params_file, tmp_path):
    evaluate_cell(params, places)
    options = ["--params", params_file, "--data", places.data, "--model", places.model]
    options += ["--reference", places.reference, "--results", "again"]
    run = run_stage("evaluate", *options, cwd=tmp_path)
    assert run.stdout.startswith(f"{CELL}: test top-1 0.")
    first = written(places.results)
    assert sorted(first) == sorted(
        [
            f"{CELL}.json",
            f"details/{CELL}.json",
            f"feature_maps/{CELL}.safetensors",
            f"outcomes/{CELL}.safetensors",
        ]
    )
    assert written(tmp_path / "again") == first


def test_metrics_and_details_agree(places, params):
    metrics = evaluate_cell(params, places)
    assert json.loads((places.results / f"{CELL}.json").read_text()) == metrics
    details = json.loads((places.results / f"details/{CELL}.json").read_text())
    test = split_of_test(places.data)

    confusion = np.array([line.split() for line in details["confusion"]], dtype=int)
    assert confusion.sum(1).tolist() == np.bincount(test.labels).tolist()
    assert metrics["top1"] == np.trace(confusion) / len(test.labels)
    assert metrics["top1_low"] <= metrics["top1"] <= metrics["top1_high"] < 1
    assert metrics["top1"] <= metrics["top5"] <= 1
    assert (metrics["row"], metrics["network"], metrics["seed"]) == ("complete", "resnet20", 3)
    assert (metrics["validation_top1"], metrics["best_epoch"]) == (0.5, 2)
    assert metrics["debug"] is False

    layers = details["layers"]
    assert len(layers) == 18
    assert [layer["target"] for layer in layers] == [1.4] * 17 + [1.8]
    for key in ("kurtosis", "near_zero_share", "binarization_error", "teacher_distance"):
        assert metrics[key] == pytest.approx(np.mean([layer[key] for layer in layers]))
    distances = [abs(layer["kurtosis"] - layer["target"]) for layer in layers]
    assert metrics["kurtosis_distance"] == pytest.approx(np.mean(distances))
    # same seed as the reference, so the same weights
    assert metrics["teacher_distance"] == 0
    assert details["reference"] == REFERENCE

    histogram = details["histogram"]
    assert list(histogram["counts"]) == [layer["name"] for layer in layers]
    for layer in layers:
        assert sum(histogram["counts"][layer["name"]]) == layer["elements"]
    assert details["params"] == params.recorded() | {
        "evaluation": params.evaluation.model_dump(mode="json")
    }
    assert details["manifest"] == json.loads((places.data / "manifest.json").read_text())
    outcomes = read_outcomes(places.results / f"outcomes/{CELL}.safetensors")
    assert outcomes.mean() == metrics["top1"]
    made = json.loads((places.results / f"provenance/{CELL}.json").read_text())["evaluation"]
    assert made.items() >= provenance(configure(params.compute, CPU, binary=True)).items()
    assert made["outputs"]["metrics"] == sha256(places.results / f"{CELL}.json")
    assert "debug" not in details


def test_both_files_of_a_debugged_network_are_marked(places, params):
    path = places.model / "model.json"
    path.write_text(path.read_text().replace('"debug": false', '"debug": true'))
    assert evaluate_cell(params, places)["debug"] is True
    assert json.loads((places.results / f"details/{CELL}.json").read_text())["debug"] is True


def test_evaluation_section_is_the_one_evaluated_with(places, params):
    evaluation = params.evaluation.model_copy(update={"confidence": 0.5, "feature_map_image": 4})
    wide = evaluate_cell(params, places)
    narrow = evaluate_cell(params.model_copy(update={"evaluation": evaluation}), places)
    assert wide["top1_low"] < narrow["top1_low"]
    assert narrow["top1_high"] < wide["top1_high"]
    details = json.loads((places.results / f"details/{CELL}.json").read_text())
    assert details["params"]["evaluation"]["confidence"] == 0.5
    maps = read_tensors(places.results / f"feature_maps/{CELL}.safetensors")
    assert np.array_equal(maps["image"], split_of_test(places.data).images[4])
    assert maps["maps"].shape == maps["binary_maps"].shape == (16, 8, 8)


def test_last_epoch_is_measured_with_its_own_weights(places, params, tmp_path):
    swapped = tmp_path / places.model.name
    shutil.copytree(places.model, swapped)
    (swapped / "best.safetensors").rename(swapped / "old")
    (swapped / "last.safetensors").rename(swapped / "best.safetensors")
    (swapped / "old").rename(swapped / "last.safetensors")
    renew_checksums(swapped)
    straight = evaluate_cell(params, places)
    crossed = evaluate_cell(params, replace(places, model=swapped))
    assert straight["last_epoch_top1"] == crossed["top1"]
    assert straight["top1"] == crossed["last_epoch_top1"]
    assert straight["loss"] != crossed["loss"]


def test_full_precision_without_the_kurtosis_loss_as_its_own_reference(places, params):
    metrics = evaluate_cell(params, replace(places, model=places.reference))
    assert metrics["teacher_distance"] == metrics["teacher_distance_relative"] == 0
    assert metrics["kurtosis_distance"] is None
    assert metrics["kurtosis"] == pytest.approx(3, abs=0.5)
    assert metrics["binary_operations"] == 0
    assert metrics["bits"] == 32 * metrics["parameters"]
    maps = read_tensors(places.results / f"feature_maps/{REFERENCE}.safetensors")
    assert sorted(maps) == ["image", "maps"]


def refused(params, places):
    with pytest.raises(UserError) as raised:
        evaluate_cell(params, places)
    message = str(raised.value)
    assert "\n" not in message
    assert not places.results.exists()
    return message


def test_missing_model_ends_the_command_in_one_line(places, params_file, tmp_path, run_here):
    options = ["--params", params_file, "--data", places.data, "--model", "models/nowhere"]
    options += ["--reference", places.reference]
    end = run_here("evaluate", tmp_path, *options, "--results", "results")
    assert end.code == 1
    assert end.err == "error: models/nowhere/model.json: no such file\n"
    assert not (tmp_path / "results").exists()


def test_a_command_without_a_reference_is_refused(places, params_file, tmp_path, run_here):
    options = ["--params", params_file, "--data", places.data, "--model", places.model]
    end = run_here("evaluate", tmp_path, *options, "--results", "results")
    assert end.code == 2
    assert end.err.endswith("the following arguments are required: --reference\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            {"network": "vgg_small"},
            "its layers do not pair with those of {model}: names or shapes differ",
        ),
        ({"classes": 7}, "its classes is 7, that of {data} is 10"),
    ],
)
def test_reference_of_another_architecture(places, params, tmp_path, change, found):
    other = save(tmp_path / "other", params, "kurtosis", (), binary=False, **change)
    message = refused(params, replace(places, reference=other))
    assert message == f"reference {other}: " + found.format(model=places.model, data=places.data)


def test_data_of_another_kind(places, params, tmp_path):
    other = save(tmp_path / "other", params, "binary", (), binary=True, channels=3)
    message = refused(params, replace(places, model=other, reference=other))
    assert message == f"model {other}: its channels is 3, that of {places.data} is 1"


def test_the_first_of_two_steps_is_not_evaluated(places, params):
    path = places.model / "model.json"
    write_json(path, read_json(path) | {"row": "complete-step-one", "step": "one"})
    message = refused(params, places)
    assert message == f"{places.model}: is the first of two steps; the second is evaluated"


def test_a_constant_layer_is_told_with_its_network(places, params):
    for which in ("best", "last"):
        path = places.model / f"{which}.safetensors"
        tensors = read_tensors(path)
        tensors["layer1.0.conv1.weight"] = torch.ones_like(tensors["layer1.0.conv1.weight"])
        write_tensors(path, tensors)
    renew_checksums(places.model)
    assert refused(params, places) == (
        f"model {places.model}, reference {places.reference}: layer1.0.conv1.weight has no "
        "kurtosis: it is constant or not finite"
    )


@pytest.mark.parametrize("row", ["../../../x", "binary/../../x", "", "full-precision-1", "a\nb"])
def test_a_row_that_would_lead_out_of_the_results(places, params, tmp_path, row):
    before = sorted(tmp_path.rglob("*"))
    description = read_json(places.model / "model.json")
    write_json(places.model / "model.json", description | {"row": row})
    message = refused(params, places)
    assert message.startswith(f"{places.model}/model.json: row is {row!r}, allowed are full-precis")
    assert sorted(tmp_path.rglob("*")) == before


def test_results_that_cannot_be_written_are_told_before_anything_is_measured(places, params):
    places.results.touch()
    with pytest.raises(UserError, match=r"results: could not be written: Not a directory$"):
        evaluate_cell(params, places)
    places.results.unlink()
    taken = places.results / "details" / f"{places.model.name}.json"
    taken.mkdir(parents=True)
    with pytest.raises(UserError, match=rf"^{taken}: could not be written: it is a folder$"):
        evaluate_cell(params, places)


def test_feature_map_image_beyond_the_test_images(places, params):
    count = len(split_of_test(places.data).labels)
    evaluation = params.evaluation.model_copy(update={"feature_map_image": count})
    message = refused(params.model_copy(update={"evaluation": evaluation}), places)
    assert message == (
        f"evaluation.feature_map_image is {count}: there are {count} test images, from 0 on"
    )


def test_network_that_computes_nan(places, params, tmp_path):
    broken = tmp_path / places.model.name
    shutil.copytree(places.model, broken)
    state = read_tensors(broken / "best.safetensors")
    state["linear.weight"].fill_(3e38)
    write_tensors(broken / "best.safetensors", state)
    renew_checksums(broken)
    message = refused(params, replace(places, model=broken))
    assert message == f"{broken}: the cross-entropy of its best epoch is nan"
