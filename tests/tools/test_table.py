"""`make table`: the files of a table for a user's own images."""

import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.errors import UserError
from pipeline.params import load_params
from tests.conftest import ROOT
from tools import table


def draw(folder: Path, side: int, splits: tuple[str, str] = ("train", "val")) -> Path:
    for split in splits:
        for label in ("dark", "light"):
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(10):
                Image.new("RGB", (side, side + 9), (number, 0, 0)).save(place / f"{number}.png")
    return folder


@pytest.fixture
def tables(tmp_path, monkeypatch) -> Path:
    """A root with the patterns alone."""
    root = tmp_path / "root"
    for name in ("cifar10", "imagenette"):
        (root / "tables" / name).mkdir(parents=True)
        for file in ("params.yaml", "cells.yaml"):
            (root / "tables" / name / file).write_text((ROOT / "tables" / name / file).read_text())
        link = (ROOT / "tables" / name / "dvc.yaml").readlink()
        (root / "tables" / name / "dvc.yaml").symlink_to(link)
    monkeypatch.setattr(table, "ROOT", root)
    return root / "tables"


def make(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["table", *map(str, arguments)])
    table.main()


@pytest.mark.parametrize(
    ("side", "options", "expected", "link"),
    [
        (20, [], 32, "../../dvc.yaml"),
        (90, [], 64, "../../dvc.yaml"),
        (90, ["--stream"], 224, "../two_steps.yaml"),
    ],
)
def test_the_files_of_a_table(tables, tmp_path, monkeypatch, capsys, side, options, expected, link):
    images = draw(tmp_path / "images", side)
    make(monkeypatch, "flowers", images, *options)
    params = load_params(tables / "flowers/params.yaml")
    assert (params.data.location, params.data.image_size) == (str(images), expected)
    assert (params.streaming is not None) == bool(options)
    assert str((tables / "flowers/dvc.yaml").readlink()) == link
    cells = YAML(typ="safe").load(tables / "flowers/cells.yaml")
    assert cells["table"] == "flowers"
    assert cells["settings"] == "tables/flowers/params.yaml"
    assert (cells["outside"], cells["images"]) == (["images"], "tables/flowers/images.json")
    assert cells["seeds"] == cells["ablation_seeds"] == [1]
    printed = capsys.readouterr().out
    assert "20 images to train and 20 to test, 2 classes" in printed
    assert "make run TABLE=flowers" in printed


def test_images_in_the_repository_are_named_as_every_clone_can(tables, monkeypatch):
    draw(tables.parent / "pictures", 20)
    make(monkeypatch, "flowers", tables.parent / "pictures")
    assert load_params(tables / "flowers/params.yaml").data.location == "pictures"


def test_a_folder_that_is_not_named_is_missing(tables, monkeypatch):
    with pytest.raises(UserError, match="IMAGES is missing: name the folder"):
        make(monkeypatch, "flowers", "")
    assert not (tables / "flowers").exists()


@pytest.mark.parametrize("name", ["", "../up", "Flowers", "a b", "-x", "a" * 41])
def test_a_name_that_is_not_allowed(tables, tmp_path, monkeypatch, name):
    with pytest.raises(UserError, match=r"NAME is .*: allowed are"):
        table.table_folder(name)


def test_nothing_is_overwritten(tables):
    with pytest.raises(UserError, match="tables/cifar10 is there already"):
        table.table_folder("cifar10")


def test_a_link_that_leads_nowhere_is_not_overwritten(tables):
    (tables / "flowers").symlink_to("nowhere")
    with pytest.raises(UserError, match="tables/flowers is there already"):
        table.table_folder("flowers")


@pytest.mark.parametrize("name", ["b" * 300, "\udcff"])
def test_a_folder_that_cannot_be_kept_in_the_params(tables, tmp_path, monkeypatch, name):
    if len(name) == 1:
        draw(tmp_path / name, 20)
    with pytest.raises(
        UserError, match=r"^IMAGES is .*: (no such folder|Input should be a valid s)"
    ):
        make(monkeypatch, "flowers", tmp_path / name)


def test_images_that_cannot_be_listed(tables, tmp_path, monkeypatch):
    images = draw(tmp_path / "images", 20)

    def closed(*_):
        raise PermissionError(13, "Permission denied", str(images))

    monkeypatch.setattr("pipeline.data.sources.folders._is_folder", closed)  # root may read all
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UserError, match=rf"^{images}: could not be read: Permission denied$"):
        make(monkeypatch, "flowers", images)


def test_tables_that_cannot_be_written(tables, tmp_path, monkeypatch):
    images = draw(tmp_path / "images", 20)

    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", closed)
    with pytest.raises(
        UserError, match=r"^tables/flowers: could not be written: Permission denied"
    ):
        make(monkeypatch, "flowers", images)


def test_make_passes_names_on_as_they_are(tmp_path):
    """A shell would take quotes and what they hold for its own."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    python.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", ".venv/.installed"):
        (tmp_path / name).touch()
    name, images = 'a"; touch b; "', "my `touch c` images"
    make = ["make", "--no-print-directory"]  # which make prints where it was called by another
    command = [*make, "table", f"NAME={name}", f"IMAGES={images}", "STREAM=1"]
    told = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert told == f"-m|tools.table|--stream|--|{name}|{images}|"
    told = subprocess.check_output([*make, "run", f"TABLE={name}"], cwd=tmp_path, text=True)
    assert told == f"-m|tools.campaign|{name}|--jobs|2|"
    assert not (tmp_path / "b").exists() and not (tmp_path / "c").exists()


def test_folders_with_other_names_are_told(tables, tmp_path, monkeypatch):
    images = draw(tmp_path / "images", 20, ("training", "validation"))
    with pytest.raises(UserError, match=r"wanted train/<class>/ .* found training, validation"):
        make(monkeypatch, "flowers", images)
    assert not (tables / "flowers").exists()
