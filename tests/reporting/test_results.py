import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.errors import UserError
from pipeline.reporting.results import load_results
from tests.reporting.synthetic import MANIFEST, PARAMS, edit_json

CELL = "resnet20-binary-1"
EVALUATION = PARAMS["evaluation"]


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


def _maps(folder: Path) -> None:
    save_file({"maps": np.zeros((1, 2, 2))}, folder / f"feature_maps/{CELL}.safetensors")


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
            _edit(f"{CELL}.json", top1=0.5),
            "images are right, which is not the top1 of",
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
        (
            _edit(f"details/{CELL}.json", confusion=[[1, 2]]),
            f"details/{CELL}.json: confusion must be 10 x 10",
        ),
        (
            _edit(f"details/{CELL}.json", losses={"x" * 80: 1}),
            f"details/{CELL}.json: losses is {{'{'x' * 58}...",
        ),
        (
            _edit(f"details/{CELL}.json", histogram={"edges": [0, 1], "counts": {}}),
            f"details/{CELL}.json: histogram.counts.layer1.0.conv1 has 0 bins, its edges make 1",
        ),
        (_edit(f"details/{CELL}.json", layers=[]), f"{CELL}.json: layers must name at least one"),
        (
            _edit(f"details/{CELL}.json", histogram={"edges": [1, 0], "counts": {}}),
            f"details/{CELL}.json: histogram.edges must be at least two numbers that rise",
        ),
        (_edit(f"{CELL}.json", bits=10**400), f"{CELL}.json: bits is 1000000"),
        (_edit(f"{CELL}.json", best_epoch=99), f"{CELL}.json: best_epoch is 99, of 2 epochs"),
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
            f"details/{CELL}.json: params.evaluation.confidence is 2: Input should be less than 1",
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
        (_maps, f"feature_maps/{CELL}.safetensors: must hold 'image' of shape"),
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
