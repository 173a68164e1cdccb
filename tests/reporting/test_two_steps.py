"""Cells of two steps, and teachers whose weights were read, in tables, figures and sentences."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.params import Params
from pipeline.reporting import caveats, context, parameters, summary, tables
from pipeline.reporting.figures import accuracy, feature_maps, weights
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.reporting.sources import FileNote, PublishedFigure, read_lines
from tests.conftest import ROOT, read_yaml
from tests.reporting.synthetic import (
    CLASSES,
    MANIFEST,
    PROVENANCE,
    TEST_IMAGES,
    edit_json,
    set_confusion,
    write_results,
)

STUDENT, TEACHER = "imagenet_resnet18", "torchvision_resnet34"
STEP_ONE = f"{STUDENT}-complete-step-one-1"
SCHEDULE = read_yaml(ROOT / "params.yaml")["student"]
PARAMS = read_yaml(ROOT / "params.yaml") | {
    "step_one": SCHEDULE | {"epochs": 3, "decay": "convolutions"},
    "step_two": {k: v for k, v in SCHEDULE.items() if k != "initialize"} | {"epochs": 4},
    "pretrained": {"weights": "download"},
}
EPOCHS = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A student in two steps and in one, its own teacher, and a pretrained one."""
    folder = tmp_path / "imagenet"
    shape = {"seeds": [1], "layers": 2, "epochs": EPOCHS}
    write_results(
        folder, networks=[STUDENT], rows=["full-precision", "binary", "complete"], **shape
    )
    write_results(folder, networks=[TEACHER], rows=["full-precision"], **shape)
    for path in (folder / "details").glob("*.json"):
        edit_json(path, params=Params.model_validate(PARAMS).recorded())
    two = {"step": "two", "start": STEP_ONE, "distiller": f"{TEACHER}-full-precision-1"}
    edit_json(folder / "details" / f"{STUDENT}-complete-1.json", **two)
    curves = pd.read_csv(folder / "curves" / f"{STUDENT}-complete-1.csv")
    curves.head(3).assign(sign_flips=None).to_csv(folder / "curves" / f"{STEP_ONE}.csv")

    (folder / "provenance" / f"{STEP_ONE}.json").write_text(json.dumps({"training": PROVENANCE}))

    teacher = f"{TEACHER}-full-precision-1"
    edit_json(folder / "details" / f"{teacher}.json", pretrained=True)
    edit_json(folder / f"{teacher}.json", best_epoch=0)
    judged = pd.DataFrame({"epoch": [0], "validation_top1": [0.7]}).reindex(columns=curves.columns)
    judged.to_csv(folder / "curves" / f"{teacher}.csv")
    return folder


@pytest.fixture
def results(folder: Path) -> Results:
    return load_results(folder)


def test_the_epochs_of_two_steps_follow_each_other(results: Results) -> None:
    (complete,) = results.seeds(STUDENT, "complete")
    assert complete.all_curves["epoch"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert complete.all_curves["sign_flips"].isna().tolist() == [True] * 3 + [False] * 4
    (binary,) = results.seeds(STUDENT, "binary")
    assert binary.all_curves is binary.curves
    assert complete.kurtosis["epoch"].unique().tolist() == [3, 4, 5, 6, 7]
    figure = accuracy.training_curves(results, STUDENT)
    rings = [line for line in figure.axes[0].lines if line.get_markersize() == 10]
    assert [(line.get_xdata()[0], line.get_color()) for line in rings] == [(4, "#d55e00")]
    text = summary.steps(results, STUDENT)
    assert "Binary alone 4; Complete (BD-BNN) 3 + 4." in text
    assert text.endswith("Logits are distilled from ResNet-34 (torchvision), full precision.")


def test_the_kurtosis_of_step_one_comes_first(folder: Path) -> None:
    of_step_one = pd.read_csv(folder / "kurtosis" / f"{STUDENT}-complete-1.csv").query("epoch < 4")
    of_step_one.to_csv(folder / "kurtosis" / f"{STEP_ONE}.csv")
    (complete,) = load_results(folder).seeds(STUDENT, "complete")
    assert complete.kurtosis["epoch"].unique().tolist() == list(range(3 + EPOCHS + 1))


def test_one_step_needs_no_words(shared_results: Path) -> None:
    assert summary.steps(load_results(shared_results), "resnet20") == ""


def test_missing_curves_of_step_one_are_named(folder: Path) -> None:
    (folder / "curves" / f"{STEP_ONE}.csv").unlink()
    with pytest.raises(UserError, match=rf"{STEP_ONE}.csv: no such file"):
        load_results(folder)


def test_the_ablation_says_which_row_has_a_step_more(results: Results) -> None:
    changes = tables.ablation(results, STUDENT).data.set_index(["row", "against"])["change"]
    assert changes["complete", "binary"].endswith("; two steps instead of one")
    assert changes["complete", "complete-untuned"].endswith("in the teacher")


def test_networks_have_names_and_top5(results: Results) -> None:
    assert results.networks == [STUDENT, TEACHER]
    runs = tables.runs(results, TEACHER).shown
    assert runs["Best epoch"].tolist() == ["pretrained"]
    assert runs["Top-5, %"].tolist() == ["100.00"]
    measured = tables.measured(results, STUDENT).shown.set_index("Row")
    assert measured.loc["Complete (BD-BNN)", "Top-5, %"] == "100.00"
    assert summary.conclusion(results, TEACHER).startswith("ResNet-34 (torchvision): full pre")


def test_the_teacher_stands_beside_students_of_another_network(tmp_path: Path) -> None:
    teacher = "torchvision_resnet18"
    shape = {"seeds": [1], "layers": 2, "epochs": 2}
    write_results(tmp_path, networks=[STUDENT], rows=["binary", "complete"], **shape)
    write_results(tmp_path, networks=[teacher], rows=["fine-tuned", "kurtosis"], **shape)
    for row, taught_by in (("binary", "fine-tuned"), ("complete", "kurtosis")):
        path = tmp_path / f"details/{STUDENT}-{row}-1.json"
        edit_json(path, teacher=f"{teacher}-{taught_by}-1")
    found = load_results(tmp_path)
    assert [cell.name for cell in weights.histogram_cells(found, STUDENT)] == [
        f"{teacher}-fine-tuned-1",
        f"{teacher}-kurtosis-1",
        f"{STUDENT}-binary-1",
        f"{STUDENT}-complete-1",
    ]
    titles = [axes.get_title("left") for axes in feature_maps.feature_maps(found, STUDENT).axes]
    assert not any("not run" in title for title in titles)
    assert found.nearest(STUDENT, "full-precision") == []
    write_results(tmp_path, networks=[teacher], rows=["full-precision"], **shape)
    [real, *_] = summary.cards(load_results(tmp_path), STUDENT)
    assert real.label == "Full precision, ResNet-18 (torchvision)"
    assert real.figure != "not run"


def test_every_figure_of_a_pretrained_teacher_is_drawn(results: Results, tmp_path: Path) -> None:
    assert len(accuracy.training_curves(results, TEACHER).axes) == 3
    for draw in (
        weights.weight_histograms,
        weights.kurtosis_by_layer,
        weights.kurtosis_over_epochs,
        weights.layer_statistics,
        feature_maps.feature_maps,
    ):
        draw(results, TEACHER).savefig(tmp_path / "figure.png")
    published = read_lines(ROOT / "reports/published.csv", PublishedFigure)
    beside = tables.published_beside(results, STUDENT, published)
    assert beside is not None and "ReActNet (two steps)" in beside.shown["Method"].tolist()
    assert len(accuracy.headline(results, STUDENT, published).axes) == 2


def test_each_schedule_is_shown_for_the_cells_it_made(results: Results) -> None:
    assert parameters.parameter(results, "step_one.epochs") == "3"
    assert parameters.parameter(results, "step_one.decay") == "convolutions"
    assert parameters.parameter(results, "pretrained.weights") == "download"
    uses = {
        (cell.name, section)
        for cell in results.cells
        for section in ("student", "step_two", "teacher", "pretrained")
        if parameters.uses(cell, section)
    }
    assert uses == {
        (f"{STUDENT}-full-precision-1", "teacher"),
        (f"{STUDENT}-binary-1", "student"),
        (f"{STUDENT}-complete-1", "step_two"),
        (f"{TEACHER}-full-precision-1", "pretrained"),
    }


def test_seeds_and_epochs_are_those_of_what_was_trained(results: Results) -> None:
    found = caveats.caveats(results, Params.model_validate(PARAMS), [])
    epochs = [PARAMS[name]["epochs"] for name in ("teacher", "student")] + [7]
    about = [line for line in found if "one seed" in line]
    assert about == [
        f"ResNet-18 (7x7 stem): {min(epochs)} to {max(epochs)} epochs and one seed. "
        "Treat this as a smoke test of the pipeline, not as "
        "evidence about the method."
    ]
    assert not any("has changed since" in line for line in found)
    (read,) = [line for line in found if "were read, not trained" in line]
    assert read.startswith("ResNet-34 (torchvision): ")


def test_a_changed_step_is_stale_for_the_cells_of_two_steps(results: Results) -> None:
    changed = json.loads(json.dumps(PARAMS))
    changed["step_two"]["epochs"] = 5
    del changed["step_one"]["decay"]
    found = caveats.caveats(results, Params.model_validate(changed), [])
    (line,) = [line for line in found if "has changed since" in line]
    assert line.endswith(
        "runs: step_two.epochs was 4, is 5; step_one.decay was convolutions, is none."
    )


def test_ten_classes_are_never_called_imagenet(folder: Path) -> None:
    """The checksum is that of all images of the set, as prepare digests them."""
    notes = read_lines(ROOT / "reports/notes.csv", FileNote)
    digest = "394089593d28537235a6aae70921ea0e255d67a6af56c95b1c0a34330543cd72"
    origin = {"images": 13394, "sha256": digest}
    manifest = MANIFEST | {"source": "folders", "origin": origin, "classes": CLASSES}
    for path in (folder / "details").glob("*.json"):
        edit_json(path, manifest=manifest)
    results = load_results(folder)
    assert context.data_name(results, notes) == "ten ImageNet classes"
    assert "These are not ImageNet results" in context.data_note(results, notes)


def test_a_thousand_classes_are_counted_not_listed(folder: Path) -> None:
    classes = [f"n{index:08}" for index in range(1000)]
    confusion = np.zeros((1000, 1000), int)
    confusion[0, 0] = TEST_IMAGES
    for path in (folder / "details").glob("*.json"):
        set_confusion(folder, path.stem, confusion)
        edit_json(path, classes=classes, manifest=MANIFEST | {"classes": classes})
    shown = context.data(load_results(folder), []).shown.set_index("Data")["Value"]
    assert shown["classes"] == "n00000000, n00000001, n00000002, ... (1,000)"
