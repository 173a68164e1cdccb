import json
from pathlib import Path

import pytest

from pipeline.params import Params
from pipeline.reporting import context, parameters
from pipeline.reporting.caveats import caveats, debug_banner
from pipeline.reporting.loading import load_results
from pipeline.reporting.sources import Choice, FileNote
from tests.reporting.synthetic import MANIFEST, PARAMS, PROVENANCE, edit_json

DETAILS = "details/resnet20-binary-1.json"
FIRST_PROVENANCE = "provenance/resnet20-binary-1.json"
NOTE = FileNote(sha256="c" * 64, name="Copy of a set", note="Nearly the original.")


@pytest.fixture(scope="module")
def params() -> Params:
    """Those that the results were made with."""
    return Params.model_validate(PARAMS)


def test_a_sound_run_has_no_caveats(shared_results: Path, params: Params) -> None:
    results = load_results(shared_results)
    assert caveats(results, params, [NOTE]) == []
    assert debug_banner(results) == ""


def test_a_name_of_a_processor_does_not_colour_the_page(own_results: Path, params: Params) -> None:
    cell = json.loads((own_results / FIRST_PROVENANCE).read_text())
    cell["training"]["cpu"] = "\x1b[31mred\n"
    (own_results / FIRST_PROVENANCE).write_text(json.dumps(cell))
    [found] = [line for line in caveats(load_results(own_results), params, []) if "CPUs" in line]
    assert found.isprintable() and "\\x1b[31mred\\n" in found


def test_a_place_on_one_machine_stays_there(own_results: Path) -> None:
    for details in own_results.glob("details/*.json"):
        content = json.loads(details.read_text())
        content["params"]["data"]["location"] = content["manifest"]["location"] = "/home/me/images"
        details.write_text(json.dumps(content))
    results = load_results(own_results)
    for table in (context.parameters(results), context.data(results, [])):
        shown = table.data.to_csv() + table.shown.to_csv()
        assert "a folder of the machine that ran it" in shown
        assert "/home" not in shown


def test_a_debug_run_is_no_result(own_results: Path) -> None:
    edit_json(own_results / "resnet20-binary-1.json", debug=True)
    banner = debug_banner(load_results(own_results))
    assert "DEBUG RUN, NO RESULT" in banner
    assert "in 1 of 2 runs (resnet20-binary-1)" in banner


def test_single_seeds_are_called_so(few_results: Path, params: Params) -> None:
    found = caveats(load_results(few_results), params, [])
    assert (
        "ResNet-20: 12 to 14 epochs and one seed. "
        "Treat this as a smoke test of the pipeline, not as evidence about the method."
    ) in found
    assert any(caveat.startswith("VGG-Small: 12") for caveat in found)


def test_rows_with_fewer_seeds_are_named(shared_results: Path, params: Params) -> None:
    results = load_results(shared_results)
    fewer = type(results)(results.dataset, results.cells[1:])
    [caveat] = caveats(fewer, params, [])
    assert caveat.startswith(
        "ResNet-20: the rows have different numbers of seeds (2: Full precision"
    )


@pytest.mark.parametrize(
    ("changes", "caveat"),
    [
        (
            {"manifest": MANIFEST | {"mean": [0.5]}},
            "The rows were not all run on the same data: 2 manifests.",
        ),
        (
            {"manifest": MANIFEST | {"origin": {"files": {"train.parquet": "c" * 64}}}},
            "Data: Copy of a set. Nearly the original.",
        ),
        (
            {"params": PARAMS | {"data": PARAMS["data"] | {"limit": 500}}},
            "Only a part of the data was used (data.limit: 500 (1 run), 0 (1 run)): not comparable "
            "with published figures.",
        ),
        (
            {"params": PARAMS | {"student": PARAMS["student"] | {"epochs": 3}}},
            "The rows were not all run with the same parameters: student.epochs 3 (1 run), 14 "
            "(1 run).",
        ),
        (
            {"params": PARAMS | {"student": PARAMS["student"] | {"epochs": 3}}},
            "The params file has changed since these runs: student.epochs was 3 (1 run), 14 "
            "(1 run), is 14.",
        ),
    ],
)
def test_what_a_reader_must_know(
    own_results: Path, params: Params, changes: dict[str, object], caveat: str
) -> None:
    edit_json(own_results / DETAILS, **changes)
    assert caveat in caveats(load_results(own_results), params, [NOTE])


@pytest.mark.parametrize(
    ("training", "caveat"),
    [
        (
            {"device": "NVIDIA H100"},
            "The runs were trained on several devices: NVIDIA H100 (1 run), cpu (1 run).",
        ),
        (
            {"deterministic": False},
            "1 of 2 runs did not use deterministic algorithms: they are not repeatable to the bit.",
        ),
    ],
)
def test_mixed_machines_are_told(
    own_results: Path, params: Params, training: dict[str, object], caveat: str
) -> None:
    edit_json(own_results / FIRST_PROVENANCE, training=PROVENANCE | training)
    assert caveats(load_results(own_results), params, []) == [caveat]


def test_what_differs_between_two_clones_is_in_no_caveat(own_results: Path, params: Params) -> None:
    other = PROVENANCE | {"revision": "f" * 40, "clean": False, "started": "2026-01-01"}
    edit_json(own_results / FIRST_PROVENANCE, training=other)
    assert caveats(load_results(own_results), params, []) == []


def test_a_parameter_no_row_uses_does_not_count(own_results: Path, params: Params) -> None:
    other = PARAMS | {"mimicking": PARAMS["mimicking"] | {"weight": 7.0}}
    edit_json(own_results / DETAILS, params=other)
    results = load_results(own_results)
    assert caveats(results, params, []) == []
    assert parameters.parameter(results, "mimicking.weight") == parameters.UNUSED
    shown = context.parameters(results).shown.set_index("Parameters")["Values"]
    assert shown["teacher"] == parameters.UNUSED
    assert shown["network"].startswith("block bireal, ")


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        (MANIFEST, "scikit-learn's handwritten digits"),
        (MANIFEST | {"source": "cifar10"}, "CIFAR-10"),
        (MANIFEST | {"source": "folders"}, "digits (class folders)"),
        (MANIFEST | {"source": "new"}, "digits"),
        (MANIFEST | {"source": "shards", "origin": {"files": {"a": "c" * 64}}}, "Copy of a set"),
    ],
)
def test_the_data_is_named_for_what_it_is(
    own_results: Path, manifest: dict[str, object], name: str
) -> None:
    edit_json(own_results / DETAILS, manifest=manifest)
    assert context.data_name(load_results(own_results), [NOTE]) == name


def test_data_and_environment_are_listed(own_results: Path) -> None:
    results = load_results(own_results)
    assert context.data_size(results) == (
        "1,220 train, 220 validation, 360 test images of 10 classes, 16 x 16 pixels."
    )
    data = context.data(results, []).data.set_index("key")["value"]
    assert data["name"] == "scikit-learn's handwritten digits"
    assert data["classes"] == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert data["test images"] == "360 (36 per class)"
    assert data["origin"] == "package scikit-learn, version 1.9.1"
    assert "checksums" not in data
    checksums = context.checksums(results).data
    assert checksums.to_numpy().tolist() == [
        ["test_images.npy", "cd" * 32],
        ["train_images.npy", "ab" * 32],
    ]


def test_files_of_the_origin_are_told_with_the_checksums(own_results: Path) -> None:
    manifest = MANIFEST | {
        "origin": {"files": {"train.parquet": "c" * 64}, "sha256": "d" * 64},
        "unreadable": [],
    }
    for path in (own_results / "details").glob("*.json"):
        edit_json(path, manifest=manifest)
    results = load_results(own_results)
    data = context.data(results, []).data.set_index("key")["value"]
    assert "origin" not in data
    assert data["unreadable"] == "none"
    found = context.checksums(results).data["key"].tolist()
    assert found == ["train.parquet", "sha256", "test_images.npy", "train_images.npy"]


def test_the_environment_leaves_out_what_differs_between_two_clones(own_results: Path) -> None:
    other = PROVENANCE | {"revision": "f" * 40, "clean": False, "started": "now", "threads": 8}
    edit_json(own_results / FIRST_PROVENANCE, evaluation=other)
    table = context.environment(load_results(own_results)).data.set_index("key")
    assert table.loc["packages", "training"] == "torch 2.15.0, numpy 2.4.6"
    assert table.loc["threads"].tolist() == ["2", "8 (1 run), 2 (1 run)"]
    assert not {"revision", "clean", "started"} & set(table.index)


def test_classes_have_the_names_of_the_note(own_results: Path) -> None:
    for path in (own_results / "details").glob("*.json"):
        edit_json(path, manifest=MANIFEST | {"origin": {"files": {"a": "c" * 64}}})
    results = load_results(own_results)
    ten = [f"class {index}" for index in range(10)]
    named = NOTE.model_copy(update={"classes": ";".join(ten)})
    assert context.class_names(results, [named]) == ten
    assert context.class_names(results, [NOTE]) == list("0123456789")
    data = context.data(results, [named]).data.set_index("key")["value"]
    assert (data["name"], data["classes"]) == (NOTE.name, ", ".join(ten))


def test_control_characters_in_names_of_classes_are_escaped(own_results: Path) -> None:
    classes = ["a\x00\n", *"123456789"]
    for path in (own_results / "details").glob("*.json"):
        edit_json(path, classes=classes, manifest=MANIFEST | {"classes": classes})
    assert context.class_names(load_results(own_results), [])[:2] == [r"a\x00\n", "1"]


def test_the_ledger_tells_the_values_of_this_run(shared_results: Path) -> None:
    choice = Choice(
        choice="Target",
        paper="not confirmed",
        released="1.8",
        field="1.8",
        ours="1.8",
        why="follows",
        parameters="kurtosis.target kurtosis.weight finetune.epochs",
    )
    table = context.fidelity(load_results(shared_results), [choice])
    assert table.shown["In this run"][0] == "kurtosis: target 1.8, weight 1; finetune: epochs 6"
    assert list(table.data.columns)[-1] == "in_this_run"
