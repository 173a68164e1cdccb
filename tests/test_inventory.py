"""Images outside the repository: what changed is noticed, what did not is not read again."""

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import joblib
import pytest
from PIL import Image

from pipeline.artifacts import digest_of_lines, sha256
from pipeline.errors import UserError
from pipeline.inventory import take_inventory
from tests.clone import Clone


def draw(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    for split, count in (("train", 4), ("val", 2)):
        for label in ("dark", "light"):
            for number in range(count):
                draw(folder / split / label / f"{number}.bmp", 10 * number)
    for name in ("notes.txt", "layers.psd", "texture.tga"):
        (folder / "train/dark" / name).write_text("no image")
    (folder / "train/dark/.hidden.bmp").write_text("no image")
    (folder / "elsewhere").mkdir()
    draw(folder / "elsewhere/0.bmp", 0)
    return folder


def test_the_images_of_the_source_count_and_their_checksum_is_that_of_sha256sum(images, tmp_path):
    found = take_inventory(images, "folders", tmp_path / "memory.json")
    paths = [p.relative_to(images).as_posix() for p in images.rglob("[0-9].bmp")]
    paths.remove("elsewhere/0.bmp")
    assert set(found.added) == set(paths)
    assert found.files == len(paths)
    assert found.bytes == sum((images / path).stat().st_size for path in paths)
    assert found.sha256 == digest_of_lines((path, sha256(images / path)) for path in paths)


def test_a_container_is_given_no_more_threads_than_its_quota(images, tmp_path, monkeypatch):
    def reading_thread(path):
        time.sleep(0.01)  # an idle thread would take the next file
        return threading.current_thread().name

    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr("pipeline.inventory.sha256", reading_thread)
    take_inventory(images, "folders", tmp_path / "memory.json")
    entries = json.loads((tmp_path / "memory.json").read_text()).values()
    assert len({thread for *_, thread in entries}) == 1


def test_a_name_that_is_not_utf_8_counts_as_its_bytes():
    line = b"00ff  caf\xe9.png\n"
    assert (
        digest_of_lines([(os.fsdecode(b"caf\xe9.png"), "00ff")]) == hashlib.sha256(line).hexdigest()
    )


@pytest.mark.parametrize("same_time", [False, True])
def test_one_file_changed_added_and_removed(images, tmp_path, same_time):
    memory = tmp_path / "memory.json"
    first = take_inventory(images, "folders", memory)
    path = images / "train/dark/1.bmp"
    before = path.stat()
    draw(path, 200)
    assert path.stat().st_size == before.st_size
    if same_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    draw(images / "train/light/deeper/9.bmp", 3)
    (images / "val/dark/0.bmp").unlink()
    second = take_inventory(images, "folders", memory)
    assert (second.changed, second.added, second.removed) == (
        ["train/dark/1.bmp"],
        ["train/light/deeper/9.bmp"],
        ["val/dark/0.bmp"],
    )
    assert second.sha256 != first.sha256


def test_a_file_that_did_not_change_is_not_read_again(images, tmp_path):
    memory = tmp_path / "memory.json"
    true = take_inventory(images, "folders", memory).sha256
    remembered = json.loads(memory.read_text())
    remembered["val/dark/0.bmp"][3] = "made up"
    memory.write_text(json.dumps(remembered))
    assert take_inventory(images, "folders", memory).sha256 != true
    (images / "val/dark/0.bmp").touch()
    assert take_inventory(images, "folders", memory).sha256 == true


@pytest.mark.parametrize("damage", ["cut", "[]", "[" * 100_000, "a number", "three numbers"])
def test_a_damaged_memory_costs_a_reading_and_nothing_else(images, tmp_path, damage):
    memory = tmp_path / "memory.json"
    true = take_inventory(images, "folders", memory).sha256
    entries = json.loads(memory.read_text())
    contents = {
        "cut": memory.read_text()[:100],
        "a number": json.dumps(dict.fromkeys(entries, 1)),
        "three numbers": json.dumps({name: entry[:3] for name, entry in entries.items()}),
    }
    memory.write_text(contents.get(damage, damage))
    assert take_inventory(images, "folders", memory).sha256 == true


def test_a_pipe_in_the_place_of_the_memory_is_not_waited_for(images, tmp_path):
    os.mkfifo(tmp_path / "memory.json")
    assert take_inventory(images, "folders", tmp_path / "memory.json").added
    assert json.loads((tmp_path / "memory.json").read_text())


def test_no_name_splits_or_colours_a_line(images, tmp_path, write_params, run_here):
    path = images / "val/dark/0.bmp"
    path.rename(path.with_name("\n\x1b[31m.bmp"))
    params = write_params({"data.source": "folders", "data.location": str(images)})
    end = run_here("inventory", tmp_path, "--params", params, "--out", "own/images.json")
    assert end.out.count("\n") == 2 and "\x1b" not in end.out


def test_shards_are_listed_without_what_lies_beside_them(tmp_path):
    for name in ("train-0.parquet", "test-0.parquet", "README.md"):
        (tmp_path / name).write_text(name)
    found = take_inventory(tmp_path, "shards", tmp_path / "memory.json")
    assert found.added == ["test-0.parquet", "train-0.parquet"]


def test_a_link_to_a_folder_above_it_is_refused(images, tmp_path):
    (images / "train/dark/again").symlink_to(images / "train")
    with pytest.raises(UserError, match="again/: is a symbolic link to a folder above it"):
        take_inventory(images, "folders", tmp_path / "memory.json")


def test_a_folder_that_lies_too_deep_is_named(images, tmp_path):
    (images / "train/dark" / "/".join("x" * 101)).mkdir(parents=True)
    with pytest.raises(UserError, match=r"/x/: lies more than 100 folders deep$"):
        take_inventory(images, "folders", tmp_path / "memory.json")


def test_without_the_images_the_last_inventory_stays(images, tmp_path, write_params, run_here):
    params = write_params({"data.source": "folders", "data.location": str(images)})
    command = ("inventory", tmp_path, "--params", params, "--out", "own/images.json")
    assert run_here(*command).code == 0
    before = (tmp_path / "own/images.json").read_text()
    images.rename(tmp_path / "moved")
    end = run_here(*command)
    assert end.code == 0
    assert "No such file or directory" in end.out and "stays as it is" in end.out
    assert (tmp_path / "own/images.json").read_text() == before
    (tmp_path / "own/images.json").unlink()
    end = run_here(*command)
    assert end.code == 1
    assert end.err == f"error: {images}: No such file or directory (data.location)\n"


@pytest.mark.slow
def test_dvc_prepares_again_what_changed_and_nothing_else(images, tmp_path):
    overrides = {
        "data.source": "folders",
        "data.location": str(images),
        "data.image_size": 8,
        "data.validation": 0.25,
    }
    clone = Clone(tmp_path / "clone", "tables/cifar10/params.yaml", overrides)
    recipe = "tables/cifar10/dvc.yaml"
    stages = [f"{recipe}:{name}" for name in ("validate", "inventory@images", "prepare")]
    assert clone.repro(stages[-1]) == set(stages)
    assert clone.repro(stages[-1]) == {stages[1]}
    for change in (
        lambda: draw(images / "train/dark/0.bmp", 99),
        lambda: draw(images / "train/dark/7.bmp", 7),
        (images / "val/light/1.bmp").unlink,
    ):
        change()
        assert clone.repro(stages[-1]) == set(stages[1:])
    images.rename(tmp_path / "moved")
    assert clone.repro(stages[-1]) == {stages[1]}
