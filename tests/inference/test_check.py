"""The maintainers' check of exports, outcomes and figures."""

import shutil
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.artifacts import read_array, read_json, sha256, write_json
from pipeline.evaluation.outcomes import write_outcomes
from pipeline.inference.engine import load_export
from pipeline.inference.manifest import MANIFEST, MODEL, WEIGHTS, read_manifest, write_manifest
from tests.conftest import ROOT, End

RUN = "digits/resnet20-binary-1"


@pytest.fixture
def results(exported, tiny_digits, tmp_path):
    """What the stage evaluate would commit."""
    logits = load_export(exported).logits(read_array(tiny_digits / "test_images.npy"))
    correct = logits.argmax(1) == read_array(tiny_digits / "test_labels.npy")
    folder = tmp_path / "results"
    write_outcomes(folder / "digits/outcomes/resnet20-binary-1.safetensors", correct)
    write_json(folder / f"{RUN}.json", {"top1": float(correct.mean())})
    return folder


@pytest.fixture
def check(exported, results, run_here) -> Callable[[], End]:
    options = ("--exports", exported.parents[1], "--results", results)
    return lambda: run_here("check", ROOT, *options, package="tools")


def test_everything_as_committed(exported, results) -> None:
    """By the command."""
    exports = exported.parents[1]
    command = [sys.executable, "-m", "tools.check", "--exports", exports, "--results", results]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    top1 = read_json(results / f"{RUN}.json")["top1"]
    right = round(top1 * 120)
    assert result.stdout == f"{RUN}: top-1 {top1:.4f}, {right} of 120 images, as committed\n"


def test_a_changed_bit_of_the_model(exported, results, check) -> None:
    path = exported / WEIGHTS
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)
    result = check()
    assert result.code == 1
    assert f"{RUN}: FAILED: {path}: was changed or cut short" in result.out
    assert result.err == "error: 1 of 1 exports differ from what is committed\n"


def test_an_export_without_its_manifest(exported, check) -> None:
    (exported / MANIFEST).unlink()
    result = check()
    assert result.code == 1
    assert f"{RUN}: FAILED: {exported}: is no exported network, it has no {MANIFEST}" in result.out


def test_what_openvino_refuses_is_one_line(exported, check) -> None:
    """With checksums that fit."""
    manifest = read_manifest(exported)
    (exported / MODEL).write_text("<net")
    files = {**manifest.files, MODEL: sha256(exported / MODEL)}
    write_manifest(exported, manifest.model_copy(update={"files": files}))
    result = check()
    assert f"FAILED: {exported / MODEL}: could not be read by OpenVINO" in result.out
    assert result.out.count("\n") == 1


def test_no_name_splits_or_colours_a_line(exported, check) -> None:
    exported.rename(exported.with_name("a\n\x1b[31m"))
    result = check()
    assert result.code == 1
    assert result.out.startswith(r"digits/a\n\x1b[31m: FAILED: ") and result.out.count("\n") == 1


def test_a_changed_outcome(exported, results, check) -> None:
    path = results / "digits/outcomes/resnet20-binary-1.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 128  # image 112, the first of the last byte
    path.write_bytes(content)
    result = check()
    assert result.code == 1
    assert f"{path}: differs from what the export computes in 1 of 120 images (112)" in (result.out)


def test_a_changed_figure(exported, results, check) -> None:
    path = results / f"{RUN}.json"
    write_json(path, {"top1": 0.99})
    result = check()
    assert result.code == 1
    assert f"FAILED: {path}: top1 is 0.99, the export has 0." in result.out
    write_json(path, [])
    result = check()
    assert result.code == 1
    assert f"FAILED: {path}: top1 is None, the export has 0." in result.out


def test_without_outcomes(exported, results, check) -> None:
    shutil.rmtree(results / "digits/outcomes")
    result = check()
    assert result.code == 1
    assert "outcomes/resnet20-binary-1.safetensors: no such file" in result.out


def test_images_that_are_not_here(exported, results, check) -> None:
    manifest = read_manifest(exported)
    other = {**manifest.data, "source": "folders", "location": "nowhere"}
    write_manifest(exported, manifest.model_copy(update={"data": other}))
    result = check()
    assert result.code == 1
    assert f"{RUN}: not checked: nowhere: no such folder" in result.out
    assert "holds no export whose test images are here" in result.err


def test_the_test_images_are_those_of_the_stage_prepare(exported, tiny_digits) -> None:
    from tools.check import _data, _test_images

    manifest = read_manifest(exported)
    pixels, labels = _test_images(_data(manifest), manifest.channels)
    assert np.array_equal(pixels, read_array(tiny_digits / "test_images.npy"))
    assert np.array_equal(labels, read_array(tiny_digits / "test_labels.npy"))
