"""The index that prepare writes, as a function and as a command, and bad images in it."""

import hashlib
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.data.loading.dataset import open_prepared
from pipeline.data.prepared import StreamedManifest, channel_statistics, load_manifest
from pipeline.data.sources.indexing import IMAGENET
from pipeline.errors import UserError
from tests.conftest import ROOT, read_yaml, with_overrides, write_yaml
from tests.data.conftest import STREAMING, number_of

SPLITS = ("train", "validation", "test")


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


def test_every_file_is_listed_with_its_label_size_and_checksum(indexed):
    images = indexed(count=40)
    folder = images.prepare()
    listed = {split: rows(folder, split) for split in SPLITS}
    assert [len(listed[split]) for split in SPLITS] == [30, 10, 20]
    paths = [row["path"] for split in SPLITS for row in listed[split]]
    found = {path.relative_to(images.root).as_posix() for path in images.root.rglob("*.jpg")}
    assert len(paths) == 60
    assert set(paths) == found
    for row in (row for split in SPLITS for row in listed[split]):
        content = (images.root / row["path"]).read_bytes()
        assert row["size"] == len(content)
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["label"] == ("odd" in row["path"])
        assert (row["row"], row["group"]) == (-1, -1)

    manifest = load_manifest(folder)
    assert isinstance(manifest, StreamedManifest)
    assert manifest.classes == ("even", "odd")
    assert manifest.counts == {"train": (15, 15), "validation": (5, 5), "test": (10, 10)}
    assert (manifest.channels, manifest.image_size) == (3, 8)
    assert manifest.location == str(images.root)
    assert manifest.unreadable == ()
    lines = "".join(
        f"{hashlib.sha256((images.root / path).read_bytes()).hexdigest()}  {path}\n"
        for path in sorted(paths)
    )
    assert manifest.origin == {
        "images": 60,
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
    }


def test_an_image_too_narrow_to_resize_is_named(indexed):
    """Its longer side would have no bound, nor would the memory that it takes."""
    images = indexed()
    Image.new("RGB", (60_000, 1)).save(images.path("train", 3))
    with pytest.raises(UserError, match="is 60000 x 1 pixels, which would be 80 x 4800000: too"):
        images.prepare(resize=80)


def test_every_row_of_a_shard_is_listed_with_its_row_group(indexed):
    folder = indexed("shards", 40).prepare()
    listed = [row for split in ("train", "validation") for row in rows(folder, split)]
    for part in range(2):
        of_shard = [row for row in listed if row["path"] == f"train-{part:05}-of-00002.parquet"]
        assert sorted(row["row"] for row in of_shard) == list(range(20))
        assert all(row["group"] == row["row"] // 7 for row in of_shard)
        assert all(row["label"] == row["row"] % 2 for row in of_shard)


@pytest.mark.parametrize("source", ["folders", "shards"])
def test_preparing_twice_gives_the_same_bytes(indexed, source):
    images = indexed(source)
    first = {path.name: path.read_bytes() for path in images.prepare().iterdir()}
    again = {path.name: path.read_bytes() for path in images.prepare().iterdir()}
    assert first == again
    assert sorted(first) == ["manifest.json", *sorted(f"{split}.parquet" for split in SPLITS)]


def test_statistics_are_those_of_the_crops_of_evaluation_or_those_of_imagenet(indexed):
    images = indexed()
    folder = images.prepare()
    opened = open_prepared(folder)
    crops = [
        opened.pixels(split, index)
        for split in ("train", "validation")
        for index in range(sum(opened.manifest.counts[split]))
    ]
    measured = opened.manifest.mean, opened.manifest.std
    np.testing.assert_allclose(measured, channel_statistics(np.stack(crops)), rtol=1e-12)
    manifest = load_manifest(images.prepare(statistics="imagenet"))
    assert (manifest.mean, manifest.std) == IMAGENET


def test_images_of_every_mode_are_taken(indexed):
    images = indexed()
    for number, mode in zip((40, 42, 44, 46), ("CMYK", "L", "P", "I;16"), strict=True):
        path = images.path("test", number)
        grey = np.full((11, 12), 100)
        if mode == "I;16":
            image = Image.fromarray((grey * 256).astype(np.uint16))
        else:
            image = Image.fromarray(grey.astype(np.uint8)).convert("RGB").convert(mode)
        image.save(path, "JPEG" if mode in ("CMYK", "L") else "PNG")
    folder = images.prepare()
    opened = open_prepared(folder)
    for index, row in enumerate(rows(folder, "test")):
        if row["path"][-7:-4] in ("040", "042", "044", "046"):
            pixels = opened.pixels("test", index).astype(int)
            assert np.abs(pixels - 100).max() <= 2, row["path"]


def test_a_limit_bounds_what_is_listed(indexed):
    folder = indexed(count=40).prepare(limit=12)
    assert [len(rows(folder, split)) for split in SPLITS] == [9, 3, 12]


def damage(images, number, split="train"):
    path = images.path(split, number)
    path.write_bytes(path.read_bytes()[:200])


def test_damaged_images_are_refused_by_name_and_number(indexed, capsys):
    images = indexed()
    for number in (3, 5, 6):
        damage(images, number)
    with pytest.raises(UserError) as error:
        images.prepare()
    few = str(error.value)
    assert few.startswith(f"data.location is '{images.root}': 3 of 60 images are unreadable (train")
    assert few.count("could not be decoded") == 3
    assert few.endswith("); replace them, or set streaming.unreadable to skip")
    assert "\n" not in few
    assert capsys.readouterr().err == ""

    damage(images, 7)
    with pytest.raises(UserError, match=r"4 of 60 images are unreadable \(see above\); replace"):
        images.prepare()
    named = [
        line.split(": could not be decoded")[0] for line in capsys.readouterr().err.split("\n")
    ]
    assert sorted(filter(None, named)) == [
        "train/even/006.jpg",
        *(f"train/odd/00{number}.jpg" for number in (3, 5, 7)),
    ]
    assert not images.root.with_name("folders-index").exists()


def test_no_name_of_a_damaged_image_splits_or_colours_a_line(indexed, capsys):
    images = indexed()
    for number in (3, 5, 6, 7):
        damage(images, number)
        path = images.path("train", number)
        path.rename(path.with_name(f"\x1b[31m\n{path.name}"))
    with pytest.raises(UserError, match="see above"):
        images.prepare()
    told = capsys.readouterr().err
    assert told.count(r"\x1b[31m\n00") == told.count("\n") == 4


def test_skipped_images_are_listed_in_the_manifest_and_nowhere_else(indexed):
    images = indexed()
    damage(images, 4)
    damage(images, 41, "test")
    images.path("train", 7).unlink()
    images.path("train", 7).symlink_to("nowhere.jpg")
    manifest = load_manifest(folder := images.prepare(unreadable="skip"))
    assert sorted(manifest.unreadable) == [
        "test/odd/041.jpg", "train/even/004.jpg", "train/odd/007.jpg"
    ]  # fmt: skip
    listed = [row["path"] for split in SPLITS for row in rows(folder, split)]
    assert len(listed) == manifest.origin["images"] == 57
    assert not set(listed) & set(manifest.unreadable)
    assert sum(map(sum, manifest.counts.values())) == 57
    opened = open_prepared(folder)
    for split in SPLITS:
        for index, row in enumerate(rows(folder, split)):
            number = number_of(opened.pixels(split, index).mean((1, 2)))
            assert row["path"].endswith(f"{number:03}.jpg")


def test_a_pipe_is_refused_or_skipped_by_name(indexed):
    images = indexed()
    path = images.path("train", 4)
    path.unlink()
    os.mkfifo(path)
    name = path.relative_to(images.root).as_posix()
    with pytest.raises(UserError, match=rf"1 of 60 images are unreadable \({name}: could not be "):
        images.prepare()
    assert load_manifest(images.prepare(unreadable="skip")).unreadable == (name,)


def test_a_row_without_an_image_is_named(indexed):
    images = indexed("shards")
    path = images.root / "train-00001-of-00002.parquet"
    content = pq.read_table(path).to_pylist()
    content[9]["image"]["bytes"] = None
    table = pq.read_table(path)
    pq.write_table(type(table).from_pylist(content, table.schema), path, row_group_size=7)
    with pytest.raises(UserError, match=rf"\({path.name} row 9: has no image bytes\); replace"):
        images.prepare()
    assert load_manifest(images.prepare(unreadable="skip")).unreadable == (f"{path.name} row 9",)


def test_a_class_without_a_readable_image_is_named(indexed):
    images = indexed(count=40)
    for number in range(41, 60, 2):
        damage(images, number, "test")
    with pytest.raises(UserError, match=r"^no image of class odd in test can be decoded$"):
        images.prepare(unreadable="skip")


def test_a_class_folder_that_val_lacks_is_named(indexed):
    images = indexed()
    (images.root / "test").rename(images.root / "val")
    (images.root / "val" / "odd").rename(images.root / "elsewhere")
    with pytest.raises(UserError, match=r"val: lacks the class odd of train$"):
        images.prepare()


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def overwrite(path):
    content = bytearray(path.read_bytes())
    content[200:1200] = bytes(1000)
    path.write_bytes(content)


@pytest.mark.parametrize("unreadable", ["refuse", "skip"])
@pytest.mark.parametrize("change", [truncate, overwrite])
def test_a_damaged_shard_is_named(indexed, change, unreadable):
    images = indexed("shards")
    change(images.root / "train-00000-of-00002.parquet")
    with pytest.raises(UserError, match=r"/train-00000-of-00002.parquet: is not a whole Parquet"):
        images.prepare(unreadable=unreadable)


@pytest.mark.parametrize(
    ("layout", "reader"),
    [
        ("shards", "pipeline.data.encoded.pq.ParquetFile.read_row_group"),
        ("folders", "pipeline.data.encoded.Path.read_bytes"),
    ],
)
def test_an_image_that_memory_has_no_room_for_is_named(indexed, monkeypatch, layout, reader):
    def fail(*_, **__):
        raise MemoryError

    images = indexed(layout)
    with monkeypatch.context() as patch:
        patch.setattr(reader, fail)
        with pytest.raises(
            UserError, match=rf"^{images.root}/.*: needs more memory than there is$"
        ):
            images.prepare(unreadable="skip")


def test_a_row_group_that_is_too_large_is_refused(indexed, monkeypatch):
    images = indexed("shards")
    shards = [pq.read_metadata(path) for path in images.root.glob("*.parquet")]
    sizes = [
        shard.row_group(each).total_byte_size
        for shard in shards
        for each in range(shard.num_row_groups)
    ]
    monkeypatch.setattr("pipeline.data.encoded.MAX_ROW_GROUP_BYTES", max(sizes))
    images.prepare()
    monkeypatch.setattr("pipeline.data.encoded.MAX_ROW_GROUP_BYTES", max(sizes) - 1)
    with pytest.raises(UserError, match=r"\.parquet: a row group has \d+ MiB"):
        images.prepare()


@pytest.fixture
def params(tmp_path):
    """Write a params file with the section streaming, and dotted overrides."""

    def write(images, **overrides):
        given = {
            "streaming": dict(STREAMING),
            "data.source": images.source,
            "data.location": "$IMAGES",
            "data.image_size": 8,
            "augmentation.crop_padding": 0,
        }
        path = tmp_path / "params.yaml"
        write_yaml(path, with_overrides(read_yaml(ROOT / "params.yaml"), given | overrides))
        return path

    return write


def test_the_command_says_what_it_left_out_and_keeps_the_variable(
    indexed, params, tmp_path, run_here, monkeypatch
):
    images = indexed()
    damage(images, 4)
    path = params(images, **{"streaming.unreadable": "skip"})
    monkeypatch.setenv("IMAGES", str(images.root))
    end = run_here("prepare", tmp_path, "--params", path, "--out", "out")
    assert end.code == 0, end.err
    assert end.out.splitlines() == [
        "folders: 33 train, 6 validation, 20 test images of 3x8x8, 2 classes -> out",
        "left out as unreadable: train/even/004.jpg",
    ]
    assert json.loads((tmp_path / "out/manifest.json").read_text())["location"] == "$IMAGES"


def test_the_command_refuses_in_one_line(indexed, params, tmp_path, run_here, monkeypatch):
    images = indexed()
    damage(images, 4)
    monkeypatch.setenv("IMAGES", str(images.root))
    end = run_here("prepare", tmp_path, "--params", params(images), "--out", "out")
    assert end.code == 1
    assert end.err.splitlines()[-1].startswith("error: data.location is '$IMAGES': 1 of 60 ")
    assert "Traceback" not in end.err
    assert not (tmp_path / "out").exists()
