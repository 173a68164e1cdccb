import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from pipeline.artifacts import sha256
from pipeline.errors import UserError
from pipeline.evaluation.outcomes import write_outcomes
from pipeline.reporting.loading import CURVES, load_results
from tests.reporting.synthetic import MANIFEST, PARAMS, edit_json

CELL = "resnet20-binary-1"
EVALUATION = PARAMS["evaluation"]
DEEP = functools.reduce(lambda inner, _: [inner], range(400), 1)


def test_cells_come_by_network_row_and_seed(few_results: Path) -> None:
    results = load_results(few_results)
    assert results.dataset == "cifar10"
    assert results.networks == ["resnet20", "vgg_small"]
    found = {row.name: [cell.name for cell in cells] for row, cells in results.rows("vgg_small")}
    assert found.pop("full-precision") == ["vgg_small-full-precision-1"]
    assert found.pop("binary") == ["vgg_small-binary-1"]
    assert len(found) == 7
    assert not any(found.values())


def test_a_network_the_paper_has_not_comes_last(own_results: Path) -> None:
    for path in own_results.rglob("resnet20-binary-1.*"):
        path.rename(path.with_name(path.name.replace("resnet20", "alexnet")))
    edit_json(own_results / "alexnet-binary-1.json", network="alexnet")
    assert load_results(own_results).networks == ["resnet20", "alexnet"]


def _missing(kind: str) -> Callable[[Path], None]:
    return lambda folder: next((folder / kind).glob(f"{CELL}.*")).unlink()


def _edit(path: str, **changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_json(folder / path, **changes)


def _write(path: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / path).write_text(content)

    return write


def _tensors(**tensors: np.ndarray | None) -> Callable[[Path], None]:
    """Replace tensors of the feature maps; None removes one."""

    def replace(folder: Path) -> None:
        path = folder / f"feature_maps/{CELL}.safetensors"
        changed = load_file(path) | tensors
        save_file({name: each for name, each in changed.items() if each is not None}, path)

    return replace


def _column(kind: str, column: str, value: object) -> Callable[[Path], None]:
    """Replace the first entry of a column."""

    def replace(folder: Path) -> None:
        table = pd.read_csv(folder / kind / f"{CELL}.csv", dtype=str)
        table.loc[0, column] = str(value)
        table.to_csv(folder / kind / f"{CELL}.csv", index=False)

    return replace


def _inside(part: str, *changes: tuple[tuple[str | int, ...], object]) -> Callable[[Path], None]:
    """Replace values at places inside a JSON file."""

    def replace(folder: Path) -> None:
        path = folder / part / f"{CELL}.json"
        content = json.loads(path.read_text())
        for (*outer, last), value in changes:
            holder = content
            for key in outer:
                holder = holder[key]
            holder[last] = value
        path.write_text(json.dumps(content))

    return replace


def _no_outcomes(folder: Path) -> None:
    write_outcomes(folder / f"outcomes/{CELL}.safetensors", np.zeros(0, bool))


def _bfloat16(folder: Path) -> None:
    path = folder / f"feature_maps/{CELL}.safetensors"
    save_torch({"maps": torch.zeros(1, 2, 2, dtype=torch.bfloat16)}, path)


def _drop(path: str, key: str) -> Callable[[Path], None]:
    def drop(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        del content[key]
        (folder / path).write_text(json.dumps(content))

    return drop


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing("details"), f"details/{CELL}.json: no such file"),
        (_missing("curves"), f"curves/{CELL}.csv: no such file"),
        (_missing("outcomes"), f"outcomes/{CELL}.safetensors: no such file"),
        (_missing("provenance"), f"provenance/{CELL}.json: no such file"),
        (
            _edit(f"{CELL}.json", top1=0.5, top1_low=0.4),
            "images are right, which is not the top1 of",
        ),
        (_edit(f"{CELL}.json", top1_low=0.99, top1_high=0.9), f"{CELL}.json: top1 is 0."),
        (_edit(f"{CELL}.json", top1_low=0.99), ", outside its interval, 0.99 to"),
        (_edit(f"{CELL}.json", top5=0.5), f"{CELL}.json: top1 is 0."),
        (
            _edit(f"details/{CELL}.json", confusion=[[4] * 9 + [0]] * 9 + [[0] * 9 + [36]]),
            f"details/{CELL}.json: the diagonal of confusion counts 72 images, ",
        ),
        (_drop(f"{CELL}.json", "blank_map_share"), f"{CELL}.json: blank_map_share is missing"),
        (_drop(f"details/{CELL}.json", "blank_maps"), f"{CELL}.json: blank_maps is missing"),
        (
            _edit(f"details/{CELL}.json", manifest=MANIFEST | {"checksums": {"test.parquet": "0"}}),
            f"{CELL} and resnet20-binary-2 were evaluated on different test images",
        ),
        (_missing("feature_maps"), f"feature_maps/{CELL}.safetensors: no such file"),
        (_write(f"{CELL}.json", "{"), f"{CELL}.json: is not valid JSON"),
        (_write(f"{CELL}.json", "[]"), f"{CELL}.json: content is []"),
        (_drop(f"{CELL}.json", "top1"), f"{CELL}.json: top1 is missing"),
        (_edit(f"{CELL}.json", top1=95.0), f"{CELL}.json: top1 is 95.0: Input should be less"),
        (_edit(f"{CELL}.json", row="best"), f"{CELL}.json: row 'best' is unknown, allowed are"),
        (_edit(f"{CELL}.json", seed=7), f"{CELL}.json: holds the results of resnet20-binary-7"),
        (_edit(f"{CELL}.json", network="../x"), f"{CELL}.json: network is '../x': String should"),
        (_edit(f"{CELL}.json", network="<img src=x>"), f"{CELL}.json: network is '<img src=x>'"),
        (_edit(f"details/{CELL}.json", start="../../x"), "start is '../../x': String should match"),
        (_write(f"provenance/{CELL}.json", "{"), f"provenance/{CELL}.json: is not valid JSON"),
        (_edit(f"details/{CELL}.json", manifest=3), f"details/{CELL}.json: manifest is 3"),
        (_edit(f"details/{CELL}.json", architecture={"a": DEEP}), "error, is nested too deeply"),
        (_edit(f"details/{CELL}.json", params={"a": {"b": DEEP}}), "error, is nested too deeply"),
        (
            _edit(f"details/{CELL}.json", manifest=MANIFEST | {"origin": {"a": DEEP}}),
            "error, is nested too deeply",
        ),
        (
            _edit(f"details/{CELL}.json", confusion=[[1, 2]]),
            f"details/{CELL}.json: confusion must be 10 x 10",
        ),
        (
            _edit(f"details/{CELL}.json", losses={"x" * 80: 1}),
            f"details/{CELL}.json: losses is {{'{'x' * 58}...",
        ),
        (
            _edit(f"details/{CELL}.json", histogram={"edges": [*range(10)], "counts": {}}),
            f"details/{CELL}.json: histogram.counts.layer1.0.conv1 has 0 bins, its edges make 9",
        ),
        (_edit(f"details/{CELL}.json", layers=[]), f"{CELL}.json: layers must name at least one"),
        (
            _edit(f"details/{CELL}.json", histogram={"edges": [*range(9, -1, -1)], "counts": {}}),
            f"details/{CELL}.json: histogram.edges must be at least 10 numbers that rise",
        ),
        (_edit(f"{CELL}.json", bits=10**400), f"{CELL}.json: bits is 1000000"),
        (_edit(f"{CELL}.json", best_epoch=99), f"{CELL}.json: best_epoch is 99, of 2 epochs"),
        (_edit(f"{CELL}.json", top1="0.95"), f"{CELL}.json: top1 is '0.95': Input should be a"),
        (_edit(f"{CELL}.json", debug="no"), f"{CELL}.json: debug is 'no': Input should be a"),
        (
            _column("curves", "validation_top1", 95.0),
            f"curves/{CELL}.csv: validation_top1 is 95.0 in epoch 1, allowed are numbers from 0",
        ),
        (
            _column("curves", "learning_rate", -0.1),
            f"curves/{CELL}.csv: learning_rate is -0.1 in epoch 1, allowed are numbers from 0",
        ),
        (
            _edit(f"details/{CELL}.json", architecture={"binarization": {"weights": True}}),
            f"details/{CELL}.json: architecture.binarization.activations is missing",
        ),
        (
            _edit(f"details/{CELL}.json", params={}),
            f"details/{CELL}.json: params.evaluation is None: Input should be a valid dict",
        ),
        (
            _edit(f"details/{CELL}.json", params={"evaluation": EVALUATION | {"confidence": 2}}),
            f"details/{CELL}.json: params.evaluation.confidence is 2: "
            "Input should be less than or equal to 0.9999",
        ),
        (
            _edit(f"details/{CELL}.json", params={"evaluation": EVALUATION}),
            f"details/{CELL}.json: params.student is None: Input should be a valid dict",
        ),
        (
            _edit(f"details/{CELL}.json", losses=["luck"]),
            f"details/{CELL}.json: losses names 'luck': allowed are cross_entropy, kurtosis, ",
        ),
        (
            _edit(f"provenance/{CELL}.json", training={"seconds": "many"}),
            f"provenance/{CELL}.json: training.seconds is 'many': Input should be a valid number",
        ),
        (_write(f"curves/{CELL}.csv", ""), f"curves/{CELL}.csv: is not valid CSV"),
        (_write(f"curves/{CELL}.csv", "a\n1\n"), f"curves/{CELL}.csv: has no column 'epoch'"),
        (
            _write(f"kurtosis/{CELL}.csv", "epoch,layer,kurtosis,target\n0,a,high,\n"),
            f"kurtosis/{CELL}.csv: column 'kurtosis' must hold numbers",
        ),
        (_write(f"feature_maps/{CELL}.safetensors", "x"), "is not a readable safetensors file"),
        (_tensors(image=None), f"feature_maps/{CELL}.safetensors: must hold 'image' of shape"),
        (_tensors(maps=np.zeros((0, 2, 2))), f"{CELL}.safetensors: must hold 'maps' of shape"),
        (_tensors(image=np.zeros((2, 4, 4))), "'image' must have 1 or 3 channels, has 2"),
        (_tensors(binary_maps=np.ones((16, 16))), "'binary_maps' and 'maps' must have the same"),
        (_tensors(binary_maps=np.ones((16, 16, 16), bool)), "'binary_maps' must hold numbers"),
        (_tensors(maps=np.full((16, 16, 16), 1e300)), "'maps' holds numbers that are not finite"),
        (_bfloat16, f"{CELL}.safetensors: is not a readable safetensors file ('BF16')"),
        (_no_outcomes, f"details/{CELL}.json: confusion counts 360 images, "),
        (
            _write(f"curves/{CELL}.csv", f"{','.join(CURVES)}\n"),
            f"curves/{CELL}.csv: has no line below its heading",
        ),
        (_column("curves", "epoch", 7), f"{CELL}.csv: column 'epoch' must count 0, 1, 2, ... or 1"),
        (_column("curves", "epoch", 1.5), f"curves/{CELL}.csv: column 'epoch' must count"),
        (_column("curves", "cross_entropy", 1e300), "'cross_entropy' holds a number that is too l"),
        (
            _write(
                f"curves/{CELL}.csv",
                f"{','.join(CURVES)}\n1{',True' * (len(CURVES) - 1)}\n",
            ),
            f"curves/{CELL}.csv: column 'learning_rate' must hold numbers",
        ),
        (
            _column("kurtosis", "kurtosis", 0),
            "column 'kurtosis' holds a number that is not above 0",
        ),
        (
            _write(f"kurtosis/{CELL}.csv", "epoch,layer,kurtosis,target\n0,7,3,\n"),
            f"kurtosis/{CELL}.csv: only this file or only the details have layer 7",
        ),
        (_column("kurtosis", "epoch", 1), f"kurtosis/{CELL}.csv: column 'epoch' must count"),
        (
            _column("kurtosis", "layer", "conv9"),
            f"kurtosis/{CELL}.csv: only this file or only the details have layer conv9",
        ),
        (
            _inside("details", (("layers", 0, "kurtosis"), 0)),
            "layers.0.kurtosis is 0: Input should",
        ),
        (
            _inside("details", (("layers", 0, "elements"), 5)),
            "histogram.counts.layer1.0.conv1 counts 4000 weights, the layer has 5",
        ),
        (
            _inside("details", (("layers", 0, "binary"), False)),
            f"resnet20-binary-2.json: layers are not those of {CELL}: name, elements and binary",
        ),
        (
            _inside("details", (("layers", 0, "teacher_distance_relative"), -1)),
            "layers.0.teacher_distance_relative is -1: Input should be greater",
        ),
        (
            _inside("details", (("manifest", "counts", "test"), [])),
            "manifest.counts.test is []: List should have at least 1 item",
        ),
        (
            _inside("details", (("manifest", "classes"), ["a"])),
            f"details/{CELL}.json: manifest.classes are not classes",
        ),
        (
            _inside("details", (("blank_maps", "layer1.0.conv1", "maps"), 10**400)),
            "blank_maps.layer1.0.conv1.maps is 1000",
        ),
        (
            _edit(f"{CELL}.json", binary_operations=0, real_operations=0),
            f"{CELL}.json: binary_operations and real_operations are both 0",
        ),
        (
            _edit(f"{CELL}.json", teacher_distance_relative=-1),
            f"{CELL}.json: teacher_distance_relative is -1: Input should be greater",
        ),
        (
            _edit(f"{CELL}.json", kurtosis_distance=1e300),
            f"{CELL}.json: kurtosis_distance is 1e+300",
        ),
        (
            _inside("provenance", (("training", "device"), [])),
            f"provenance/{CELL}.json: training.device is []: Input should be a valid string",
        ),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    own_results: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(own_results)
    with pytest.raises(UserError) as caught:
        load_results(own_results)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder_and_no_results(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no results"):
        load_results(tmp_path)


@pytest.mark.parametrize("table", ["curves", "kurtosis"])
def test_curves_of_another_training_are_refused(own_results: Path, table: str) -> None:
    path = own_results / table / "resnet20-binary-1.csv"
    provenance = own_results / "provenance/resnet20-binary-1.json"
    training = json.loads(provenance.read_text())["training"]
    edit_json(provenance, training=training | {"outputs": {table: sha256(path)}})
    load_results(own_results)
    path.write_text(path.read_text().replace("0.", "0.0", 1))
    with pytest.raises(UserError, match=f"{path}: is not the one that {provenance} describes"):
        load_results(own_results)


@pytest.mark.parametrize("stage", ["training", "evaluation"])
def test_provenance_that_is_nested_too_deeply_is_named(own_results: Path, stage: str) -> None:
    path = own_results / f"provenance/{CELL}.json"
    content = json.loads(path.read_text())
    content[stage]["cuda"] = json.loads("[" * 400 + "]" * 400)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"provenance/{CELL}.json: {stage} is .*nested too deeply"):
        load_results(own_results)


def test_a_folder_whose_name_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x: no such folder$"):
        load_results(tmp_path / ("x" * 300))
