"""An export on disk: whole, the same to the byte, and refused when it was changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import read_array, sha256
from pipeline.data.prepared import load_manifest
from pipeline.errors import UserError
from pipeline.evaluation.cell import EvaluationPlaces, evaluate_cell
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.inference.engine import load_export, predict
from pipeline.inference.export import export
from pipeline.inference.manifest import (
    MANIFEST,
    MODEL,
    README,
    WEIGHTS,
    Manifest,
    read_manifest,
    write_manifest,
)
from pipeline.models.saved import load_trained
from pipeline.params import load_params
from tests.conftest import ROOT, largest_file, run_stage
from tests.inference.conftest import save_network
from tests.inference.test_graph import in_torch
from tests.models.test_binary import binarization
from tests.models.test_networks import architecture


def test_every_test_image_as_in_torch(exported, model, tiny_digits) -> None:
    images = read_array(tiny_digits / "test_images.npy")
    data = load_manifest(tiny_digits)
    network, _ = load_trained(model, "best")

    logits = load_export(exported, threads=1).logits(images)

    expected = in_torch(network, images, data.mean, data.std)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert logits.argmax(1).tolist() == expected.argmax(1).tolist()


@pytest.mark.parametrize(
    ("network", "block"), [("vgg_small", "plain"), ("imagenet_resnet18", "react")]
)
def test_every_outcome_is_that_of_the_stage_evaluate(
    write_params, tiny_digits, tmp_path, network, block
) -> None:
    """With scales that are no powers of two, so that the order of additions could matter."""
    scaled = binarization(weight_scale="mean_absolute")
    form = {"channels": 1, "image_size": 8, "block": block, "binarization": scaled}
    model = save_network(
        tmp_path / "model", write_params(), architecture(network, **form), "binary"
    )
    results = tmp_path / "results"
    evaluate_cell(load_params(write_params()), EvaluationPlaces(tiny_digits, model, model, results))
    manifest = export(model, tiny_digits, tmp_path / "out")

    logits = load_export(tmp_path / "out").logits(read_array(tiny_digits / "test_images.npy"))

    correct = logits.argmax(1) == read_array(tiny_digits / "test_labels.npy")
    outcomes = results / "outcomes" / f"{manifest.name}.safetensors"
    assert np.array_equal(correct, read_outcomes(outcomes))
    assert 0 < correct.sum() < correct.size


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 70])
def test_batches_of_any_size(exported, count) -> None:
    network = load_export(exported, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 8, 8), np.uint8)

    logits = network.logits(pixels)

    assert len(network._compiled) == min(count, 1)  # it is what takes longest
    assert logits.shape == (count, 10)
    singly = [network.logits(image[None])[0] for image in pixels]
    assert np.allclose(logits, np.reshape(singly, logits.shape), atol=1e-5)


def test_the_stage_writes_the_same_bytes_again(exported, model, tiny_digits, tmp_path) -> None:
    again = tmp_path / "again"
    run_stage("export", "--data", tiny_digits, "--model", model, "--out", again, cwd=tmp_path)

    names = [MANIFEST, WEIGHTS, MODEL, README]
    assert sorted(path.name for path in again.iterdir()) == sorted(names)
    assert [sha256(again / name) for name in names] == [sha256(exported / name) for name in names]


def test_what_the_manifest_says(exported, model, tiny_digits) -> None:
    manifest, data = read_manifest(exported), load_manifest(tiny_digits)

    assert manifest.name == exported.name == "resnet20-binary-1"
    assert (manifest.classes, manifest.mean, manifest.std) == (data.classes, data.mean, data.std)
    assert (manifest.channels, manifest.image_size, manifest.resize) == (1, 8, None)
    assert manifest.weights_sha256 == sha256(model / "best.safetensors")
    assert manifest.binary_convolutions == 18
    packed = 8 * (exported / WEIGHTS).stat().st_size
    assert packed == pytest.approx(manifest.counted_bits, rel=0.01)


def test_nothing_imports_torch_or_reports_to_the_makers_of_openvino(exported) -> None:
    """It is what makes the answer quick, also where there is no network."""
    code = (
        "import sys; from pathlib import Path; from pipeline.inference.engine import load_export; "
        "import numpy as np; import stages.predict; "
        "load_export(Path(sys.argv[1])).logits(np.zeros((1, 1, 8, 8), np.uint8)); "
        "print([name for name in ('torch', 'pandas', 'sklearn') if name in sys.modules]); "
        "print(sys.modules['openvino_telemetry'])"
    )
    command = [sys.executable, "-c", code, str(exported)]
    assert subprocess.check_output(command, text=True) == "[]\nNone\n"


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, README])
def test_a_flipped_bit(exported, name) -> None:
    content = bytearray((exported / name).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: was changed or cut short"):
        load_export(exported)


@pytest.mark.parametrize("name", [MODEL, WEIGHTS])
def test_a_file_cut_short_missing_or_of_another_kind(exported, name) -> None:
    content = (exported / name).read_bytes()
    (exported / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"{name}: was changed or cut short"):
        load_export(exported)
    (exported / name).unlink()
    for make, reason in (
        ((exported / name).exists, "no such file"),
        (lambda: (exported / name).symlink_to(name), "could not be read: Too many levels of .*"),
    ):
        make()
        with pytest.raises(UserError, match=rf"^{exported / name}: {reason}$"):
            load_export(exported)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"version": 1', '"version": 7', r"version is 7, this code reads version 1"),
        ('"seed": 1', '"seed": 2', r"was changed: its content differs from its own checksum"),
        ('"seed": 1,', "", r"was changed: its content differs from its own checksum"),
        ("}", "", r"is not valid JSON"),
    ],
)
def test_a_manifest_that_was_changed(exported, before, after, message) -> None:
    path = exported / MANIFEST
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UserError, match=rf"^{path}: {message}"):
        load_export(exported)


def test_logits_that_are_no_finite_numbers(exported) -> None:
    manifest, path = read_manifest(exported), exported / WEIGHTS
    path.write_bytes(path.read_bytes()[:-40] + b"\xff" * 40)  # ten times NaN in float32
    files = manifest.files | {WEIGHTS: sha256(path)}
    write_manifest(exported, manifest.model_copy(update={"files": files}))
    with pytest.raises(UserError, match="its logits are not finite numbers"):
        load_export(exported).logits(np.zeros((1, 1, 8, 8), np.uint8))


def test_a_manifest_of_another_image_size(exported) -> None:
    manifest = read_manifest(exported)
    write_manifest(exported, manifest.model_copy(update={"image_size": 16}))
    message = r"takes images \(1, 8, 8\), \(1, 16, 16\) are in its manifest"
    with pytest.raises(UserError, match=message):
        load_export(exported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": {}}, r"/export.json: architecture names no network$"),
        ({"image_size": 0}, r"/export.json: image_size: Input should be greater than 0$"),
        ({"resize": 0}, r"/export.json: resize: Input should be greater than 0$"),
        ({"resize": 10**9}, r"/export.json: resize: Input should be less than or equal to 8192$"),
        ({"resize": 7}, r"/export.json: resize is 7, less than image_size, 8$"),
        ({"classes": ("one",) * 10}, r"/export.json: classes names one twice$"),
        ({"classes": ("one",)}, r"/model.xml: has 10 logits, 1 classes are in its manifest$"),
    ],
)
def test_a_manifest_that_fits_its_checksum_but_nothing_else(exported, change, message) -> None:
    write_manifest(exported, read_manifest(exported).model_copy(update=change))
    with pytest.raises(UserError, match=message):
        load_export(exported)


OF_ANY_SIZE = """<layers>
<layer id="0" name="x" type="Parameter" version="opset1">
    <data shape="?,1,?,?" element_type="u8"/><output><port id="0" precision="U8"/></output>
</layer>
<layer id="1" name="y" type="Result" version="opset1"><input><port id="0"/></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges>"""


def forge(exported: Path, graph: str) -> None:
    """Put another graph into an export, whose checksums fit it."""
    (exported / MODEL).write_text(graph)
    content = json.loads((exported / MANIFEST).read_text())
    del content["sha256"]
    manifest = Manifest.model_validate_json(json.dumps(content))
    files = {name: sha256(exported / name) for name in (MODEL, WEIGHTS, README)}
    write_manifest(exported, manifest.model_copy(update={"files": files}))


@pytest.mark.parametrize("graph", ["<layers></layers><edges></edges>", OF_ANY_SIZE])
def test_a_graph_that_fits_its_checksum_but_is_none_of_a_network(exported, graph) -> None:
    forge(exported, f'<?xml version="1.0"?><net name="x" version="11">{graph}</net>')
    with pytest.raises(UserError, match=r"/model.xml: has no images of one size as its input, or "):
        load_export(exported)


def test_a_graph_that_cannot_be_computed(exported) -> None:
    graph = (exported / MODEL).read_text()
    padded = 'pads_begin="1, 1" pads_end="1, 1" dilations='  # of the binary convolutions
    assert padded in graph
    forge(exported, graph.replace(padded, 'pads_begin="-1, 3" pads_end="3, -1" dilations=', 1))
    network = load_export(exported)
    with pytest.raises(UserError, match=r": could not be computed by OpenVINO \("):
        network.logits(np.zeros((1, 1, 8, 8), np.uint8))


def test_a_full_disk(model, tiny_digits, tmp_path, run_here) -> None:
    with largest_file(9000):
        end = run_here(
            "export", tmp_path, "--data", tiny_digits, "--model", model, "--out", "disk/out"
        )
    assert (end.code, end.err.count("\n")) == (1, 1)
    assert end.err.startswith("error: disk/out: could not be written by OpenVINO (")
    assert not any((tmp_path / "disk").iterdir())


def test_a_network_without_the_section_data(model, tiny_digits, tmp_path, run_here) -> None:
    shutil.copytree(model, tmp_path / "model")
    path = tmp_path / "model/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"params": {}}))
    arguments = ["--data", tiny_digits, "--model", "model", "--out", "out"]
    end = run_here("export", tmp_path, *arguments)
    assert (end.code, end.err) == (1, "error: model: its model.json has no params.data\n")
    assert not (tmp_path / "out").exists()


def test_images_of_another_size(exported) -> None:
    network = load_export(exported)
    message = r"^resnet20-binary-1: images are uint8 \(1, 9, 9\), it takes uint8 \(1, 8, 8\)$"
    with pytest.raises(UserError, match=message):
        network.logits(np.zeros((1, 1, 9, 9), np.uint8))


def test_a_folder_that_is_no_export(model) -> None:
    for folder in (model, model / ("long" * 100)):
        message = rf"^{folder}: is no exported network, it has no {MANIFEST}; python -m stages.exp"
        with pytest.raises(UserError, match=message):
            load_export(folder)


def test_a_network_of_other_images(write_params, tiny_digits, tmp_path) -> None:
    described = architecture("resnet20", channels=1, image_size=16, binarization=binarization())
    model = save_network(tmp_path / "model", write_params(), described, "binary")
    message = f"^--model {model}: its image_size is 16, that of {tiny_digits} is 8$"
    with pytest.raises(UserError, match=message):
        export(model, tiny_digits, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["export", "predict"])
def test_a_command_without_openvino_ends_in_one_line(exported, model, tiny_digits, stage) -> None:
    arguments = {
        "export": ["--data", tiny_digits, "--model", model, "--out", exported.with_name("other")],
        "predict": ["--model", exported, exported / "image.png"],
    }[stage]
    code = (
        "import sys; sys.modules['openvino'] = None; import runpy; "
        "runpy.run_module(sys.argv.pop(1), run_name='__main__')"
    )
    command = [sys.executable, "-c", code, f"stages.{stage}", *map(str, arguments)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("error: openvino cannot be imported ")
    assert done.stderr.count("\n") == 1
    assert not exported.with_name("other").exists()


def test_without_openvino(exported, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"^openvino cannot be imported .*pip install openvino"):
        load_export(exported)


def test_full_precision_in_the_same_format(write_params, tiny_digits, tmp_path) -> None:
    described = architecture("resnet20", channels=1, image_size=8)
    model = save_network(tmp_path / "model", write_params(), described, "full-precision")
    manifest = export(model, tiny_digits, tmp_path / "out")
    images = read_array(tiny_digits / "test_images.npy")
    network, _ = load_trained(model, "best")

    logits = load_export(tmp_path / "out").logits(images)

    expected = in_torch(network, images, manifest.mean, manifest.std)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
    assert manifest.binary_convolutions == 0


def test_probabilities(exported, tmp_path) -> None:
    shutil.copy(_image(tmp_path), tmp_path / "again.png")
    probabilities = predict(load_export(exported), [tmp_path / "image.png", tmp_path / "again.png"])
    assert probabilities.shape == (2, 10)
    assert np.array_equal(probabilities[0], probabilities[1])
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-6)
    assert predict(load_export(exported), []).shape == (0, 10)


def _image(folder):
    Image.linear_gradient("L").save(folder / "image.png")
    return folder / "image.png"


def test_the_readme_works_for_who_has_nothing_else(exported) -> None:
    image = _image(exported)
    code = (exported / README).read_text().split("```python")[1].split("```")[0]

    result = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=exported, capture_output=True, text=True, check=True
    )

    probabilities = predict(load_export(exported), [image])
    assert result.stdout == f"{probabilities[0].argmax()}\n"
