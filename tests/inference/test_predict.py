"""The command that names what images show."""

import csv
import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import read_array
from pipeline.data.crops import EvaluationCrop
from pipeline.inference.engine import load_export, predict
from pipeline.inference.manifest import read_manifest
from pipeline.inference.preparation import read_pixels
from stages.predict import _files, _predictions
from tests.conftest import ROOT, run_stage

ORIENTATION = 0x0112


def rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def digits(tiny_digits, tmp_path):
    """Three test images as files, one in a folder of its own."""
    images = read_array(tiny_digits / "test_images.npy")
    folder = tmp_path / "digits"
    (folder / "more").mkdir(parents=True)
    files = [folder / "a.png", folder / "b.bmp", folder / "more/c.PNG"]
    for file, image in zip(files, images, strict=False):
        Image.fromarray(image[0]).save(file)
    return files


def test_files_see_the_pixels_of_the_test_images(exported, digits, tiny_digits) -> None:
    manifest = read_manifest(exported)
    for index, file in enumerate(digits):
        expected = read_array(tiny_digits / "test_images.npy")[index]
        assert np.array_equal(read_pixels(file, manifest), expected)


def test_formats(exported, digits, tmp_path) -> None:
    expected = predict(load_export(exported), digits)
    best = [str(index) for index in expected.argmax(1)]

    def ask(form: str) -> str:
        arguments = ("--model", exported, "--format", form, digits[0].parent)
        return run_stage("predict", *arguments, cwd=tmp_path).stdout

    answers = [json.loads(line) for line in ask("json").splitlines()]
    assert [answer["image"] for answer in answers] == list(map(str, digits))
    assert [answer["class"] for answer in answers] == best
    for answer, probabilities in zip(answers, expected, strict=True):
        found = list(answer["probabilities"].values())
        assert found == pytest.approx(probabilities.tolist(), abs=1e-6)
    table = rows(ask("csv"))
    assert [row["class"] for row in table] == best
    assert list(table[0]) == ["image", "class", *map(str, range(10))]
    assert [float(table[0][str(index)]) for index in range(10)] == pytest.approx(
        expected[0].tolist(), abs=1e-6
    )
    lines = ask("text").splitlines()
    assert [line.split(": ")[1].split()[0] for line in lines] == best
    assert lines[0].startswith(f"{digits[0]}: {best[0]} {expected[0].max():.2%}, ")


def test_bad_files_are_told_and_the_rest_goes_on(exported, digits, tmp_path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    long = "long" * 100
    images = ["bad.png", digits[0], "missing.png", "empty", digits[1], long]

    result = run_stage(
        "predict", "--model", exported, "--format", "csv", *images, cwd=tmp_path, check=False
    )

    assert result.returncode == 1
    assert [row["image"] for row in rows(result.stdout)] == [str(digits[0]), str(digits[1])]
    assert sorted(result.stderr.splitlines()) == [
        "error: bad.png: could not be decoded (none of the formats "
        "BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP)",
        "error: empty: holds no image",
        f"error: {long}: could not be read: File name too long",
        "error: missing.png: no such file",
    ]


def test_a_folder_without_images_alone_is_an_error(exported, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    end = run_stage("predict", "--model", exported, "empty", cwd=tmp_path, check=False)
    assert (end.returncode, end.stdout, end.stderr) == (1, "", "error: empty: holds no image\n")


def test_a_folder_that_cannot_be_read(digits, monkeypatch, capsys) -> None:
    """By everyone but root."""
    folder, scandir = digits[0].parent, os.scandir

    def refuse(path):
        if Path(path).name == "more":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    bad: list[Path] = []
    assert list(_files([folder, folder / "more"], bad)) == digits[:2]
    line = f"error: {folder}/more: could not be read: Permission denied\n"
    assert (bad, capsys.readouterr().err) == ([folder / "more"] * 2, line * 2)


def test_what_is_in_a_folder_and_no_image_by_its_name_is_passed_over(digits) -> None:
    folder = digits[0].parent
    for name in ("notes.txt", "paper.pdf", "film.mpg"):
        (folder / name).write_text("no image")
    (folder / "more").rename(folder / "more.png")
    expected = [*digits[:2], folder / "more.png/c.PNG"]
    assert list(_files([folder], [])) == expected


def test_an_image_given_twice_is_told_twice(exported, digits) -> None:
    given = [digits[0], digits[1], digits[0]]
    told = _predictions(load_export(exported), iter(given), [])
    assert [path for path, _ in told] == given


def test_a_pipe_is_not_waited_for(exported, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    end = run_stage(
        "predict", "--model", exported, "pipe.png", cwd=tmp_path, check=False, timeout=60
    )
    assert (end.returncode, end.stderr) == (1, "error: pipe.png: is no file\n")


def test_a_name_of_control_characters_is_one_line(exported, digits, tmp_path) -> None:
    (tmp_path / "a\n\x1b[31mb.png").write_bytes(digits[0].read_bytes())
    images = ["a\n\x1b[31mb.png", "no\nsuch.png"]
    end = run_stage("predict", "--model", exported, *images, cwd=tmp_path, check=False)
    assert end.stdout.startswith("a\\n\\x1b[31mb.png: ") and end.stdout.count("\n") == 1
    assert end.stderr == "error: no\\nsuch.png: no such file\n"


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_a_name_that_is_not_utf_8(exported, digits, tmp_path, form) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(digits[0].read_bytes())
    command = [sys.executable, "-m", "stages.predict", "--model", exported, "--format", form, name]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    output = subprocess.check_output(command, cwd=ROOT, env=environment)
    assert (b"\\udcff.png" if form == "text" else b"/\xff.png") in output


def test_a_folder_without_export(digits, tmp_path) -> None:
    result = run_stage("predict", "--model", tmp_path, digits[0], cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path}: is no exported network")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["odd", "colour", "alpha", "exif", "16 bits"])
def test_images_of_every_kind(exported, tmp_path, kind) -> None:
    """Each of them shows what one plain image shows."""
    grey = Image.linear_gradient("L").resize((40, 40))
    path, plain = tmp_path / "image.png", grey
    if kind == "odd":
        wide = np.pad(np.asarray(grey), ((0, 0), (7, 8)), "edge")
        Image.fromarray(wide).save(path)
    elif kind == "colour":
        grey.convert("RGB").save(path)
    elif kind == "alpha":
        plain = Image.new("L", grey.size, 255)
        Image.merge("LA", (grey, Image.new("L", grey.size, 0))).save(path)
    elif kind == "exif":
        exif = Image.Exif()
        exif[ORIENTATION] = 3
        grey.rotate(180).save(path, exif=exif)
    else:
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 256 + 9).save(path)
    plain.save(tmp_path / "plain.png")
    manifest = read_manifest(exported)

    expected = read_pixels(tmp_path / "plain.png", manifest)
    assert np.array_equal(read_pixels(path, manifest), expected)


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (64, 64)])
def test_streamed_images_are_cropped_as_in_evaluation(exported, tmp_path, size) -> None:
    """To one level: torchvision resizes there, Pillow here."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8)).resize(size)
    image.save(tmp_path / "photo.png")
    streamed = read_manifest(exported).model_copy(
        update={"channels": 3, "image_size": 24, "resize": 32}
    )
    expected = EvaluationCrop(32, 24)(image)
    found = torch.from_numpy(read_pixels(tmp_path / "photo.png", streamed).astype(np.int16))
    assert (found - expected).abs().max() <= 1
