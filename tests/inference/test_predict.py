"""The command that names what images show."""

import csv
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import read_array
from pipeline.data.crops import EvaluationCrop
from pipeline.errors import UserError
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


def test_what_is_in_a_folder_and_no_image_by_its_name_is_passed_over(digits) -> None:
    folder = digits[0].parent
    for name in ("notes.txt", "paper.pdf", "film.mpg", "layers.psd"):
        (folder / name).write_text("no image")
    (folder / "more").rename(folder / "more.png")
    expected = [*digits[:2], folder / "more.png/c.PNG"]
    assert list(_files([folder], [])) == expected


def test_an_image_given_twice_is_told_twice(exported, digits) -> None:
    given = [digits[0], digits[1], digits[0]]
    told = _predictions(load_export(exported), iter(given), [])
    assert [path for path, _ in told] == given


def test_folders_in_a_folder_are_followed_and_none_is_passed_over(
    exported, digits, tmp_path, run_here, monkeypatch
) -> None:
    (tmp_path / "far").mkdir()
    shutil.copy(digits[0], tmp_path / "far/a.png")
    (tmp_path / "images/closed").mkdir(parents=True)
    (tmp_path / "images/linked").symlink_to(tmp_path / "far")
    (tmp_path / "images/round").symlink_to(tmp_path / "images")
    listed = Path.iterdir

    def closed(folder):
        if folder.name == "closed":  # root may read everything
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    end = run_here("predict", tmp_path, "--model", exported, "images", "b" * 300)
    assert end.code == 1
    assert [line.partition(":")[0] for line in end.out.splitlines()] == ["images/linked/a.png"]
    assert end.err.splitlines()[:2] == [
        "error: images/closed: could not be read: Permission denied",
        "error: images/round: is a symbolic link to a folder above it",
    ]
    assert end.err.splitlines()[2].endswith(": could not be read: File name too long")


def test_an_image_that_would_be_too_long_is_refused(exported, tmp_path) -> None:
    manifest = read_manifest(exported).model_copy(update={"resize": 256})
    Image.new("RGB", (60_000, 1)).save(tmp_path / "narrow.png")
    with pytest.raises(
        UserError, match=r"narrow.png: is 60000 x 1 pixels, which would be 256 x 15"
    ):
        read_pixels(tmp_path / "narrow.png", manifest)


def test_a_folder_that_lies_too_deep_is_named_and_the_rest_goes_on(
    exported, digits, tmp_path
) -> None:
    (tmp_path / "images" / "/".join("x" * 101)).mkdir(parents=True)
    (tmp_path / "images" / "z.png").write_bytes(digits[0].read_bytes())
    end = run_stage("predict", "--model", exported, "images", cwd=tmp_path, check=False)
    assert end.returncode == 1
    assert end.stdout.startswith("images/z.png: ")
    assert re.fullmatch(r"error: images(/x)+: lies more than 100 folders deep\n", end.stderr)


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


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_a_name_that_the_terminal_cannot_show_is_utf_8(exported, digits, tmp_path, form) -> None:
    image = tmp_path / "\u732b.png"
    image.write_bytes(digits[0].read_bytes())
    command = [sys.executable, "-m", "stages.predict", "--model", exported, "--format", form, image]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    output = subprocess.check_output(command, cwd=ROOT, env=environment)
    assert "/\u732b.png" in output.decode()


def test_a_closed_output_is_one_line(exported, digits) -> None:
    command = f"exec {sys.executable} -m stages.predict --model {exported} {digits[0]} >&-"
    end = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    assert (end.returncode, end.stderr) == (1, "error: stdout: is closed\n")


def test_a_link_that_leads_nowhere_is_told(exported, digits, tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(digits[0].read_bytes())
    (tmp_path / "images" / "more").symlink_to("nowhere")
    end = run_stage("predict", "--model", exported, "images", cwd=tmp_path, check=False)
    assert end.returncode == 1 and end.stdout.startswith("images/a.png: ")
    assert end.stderr == "error: images/more: is a symbolic link that leads nowhere\n"


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
