import hashlib
import json
import os

import numpy as np
import pytest

from pipeline.data.prepared import (
    Split,
    channel_statistics,
    load_manifest,
    load_split,
    write_prepared,
)
from pipeline.errors import UserError

NAMES = ("train", "validation", "test")


def random_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 3, 4, 4), np.uint8)
    return Split(images, np.arange(count) % 2)


SPLITS = {name: random_split(5 + seed, seed) for seed, name in enumerate(NAMES)}


def write(folder, **changes):
    content = {"source": "folders", "origin": {"files": 3}, "classes": ("a", "b"), **SPLITS}
    return write_prepared(folder, **(content | changes))


def test_what_was_written_is_read(tmp_path):
    manifest = write(tmp_path / "deep" / "set")
    assert load_manifest(tmp_path / "deep" / "set") == manifest
    for name in NAMES:
        split = load_split(tmp_path / "deep" / "set", manifest, name)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        np.testing.assert_array_equal(split.images, SPLITS[name].images)
        np.testing.assert_array_equal(split.labels, SPLITS[name].labels)
    assert manifest.counts == {"train": (3, 2), "validation": (3, 3), "test": (4, 3)}
    assert (manifest.channels, manifest.image_size) == (3, 4)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


def test_the_same_splits_give_the_same_bytes_over_an_older_folder(tmp_path):
    write(tmp_path / "first")
    write(tmp_path / "second")
    (tmp_path / "second" / "left_over.npy").touch()
    write(tmp_path / "second")
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    assert len(first) == 7


def test_statistics_are_those_of_all_training_pixels(tmp_path):
    manifest = write(tmp_path / "set")
    pixels = np.concatenate([SPLITS["train"].images, SPLITS["validation"].images]) / 255
    np.testing.assert_allclose(manifest.mean, pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(manifest.std, pixels.std((0, 2, 3)), rtol=1e-12)


def test_statistics_of_a_constant_channel_are_exact():
    assert channel_statistics(np.full((2, 1, 3, 3), 255, np.uint8)) == ((1.0,), (0.0,))


@pytest.mark.parametrize("name", ["test_images.npy", "train_labels.npy"])
def test_missing_and_altered_files_are_named(tmp_path, name):
    manifest = write(tmp_path / "set")
    path = tmp_path / "set" / name
    split = name.partition("_")[0]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}: differs from its checksum"):
        load_split(tmp_path / "set", manifest, split)
    path.unlink()
    with pytest.raises(UserError, match=rf"{name}: no such file"):
        load_split(tmp_path / "set", manifest, split)
    path.mkdir()
    with pytest.raises(UserError, match=rf"{name}: could not be read: not a regular file"):
        load_split(tmp_path / "set", manifest, split)


def change(folder, name, array):
    """Put `array` in the place of a file, and its checksum into the manifest."""
    np.save(folder / name, array)
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["checksums"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(content))


TRAIN = SPLITS["train"]


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train_labels.npy", TRAIN.labels + 98, r"holds the label 98, allowed are 0 to 1$"),
        ("train_labels.npy", TRAIN.labels - 1, r"holds the label -1, allowed are 0 to 1$"),
        ("train_labels.npy", 1 - TRAIN.labels, r"holds other numbers of images of each class "),
        ("train_labels.npy", TRAIN.labels.astype(np.float32), r"holds float32 of shape \(5,\), "),
        ("train_images.npy", TRAIN.images[:, :1], r"holds uint8 of shape \(5, 1, 4, 4\), manifest"),
        ("train_images.npy", TRAIN.images[:4], r"holds uint8 of shape \(4, 3, 4, 4\), manifest"),
        ("train_images.npy", TRAIN.images / 255, r"holds float64 of shape \(5, 3, 4, 4\), "),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_the_manifest_are_named(tmp_path, name, array, message):
    write(tmp_path / "set")
    change(tmp_path / "set", name, array)
    manifest = load_manifest(tmp_path / "set")
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        load_split(tmp_path / "set", manifest, "train")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("mean", [0.5], "mean has 1 values and std 3, channels is 3"),
        ("channels", 1, "mean has 3 values and std 3, channels is 1"),
        ("channels", -1, "channels: Input should be greater than 0"),
        ("image_size", 10**9, "image_size: Input should be less than or equal to 8192"),
        ("classes", ["a"], "classes: Tuple should have at least 2 items"),
        ("classes", ["a", "a"], "classes names 'a' twice"),
        ("mean", [0.5, 0.5, 1e300], "mean.2: Input should be less than or equal to 1"),
        ("std", [0.5, 0.5, 0], "std.2: Input should be greater than 0"),
        ("counts", {"train": [-1, 2], "validation": [1, 1], "test": [4, 3]}, "counts.train.0: "),
        (
            "counts",
            {"train": [3, 2], "validation": [0, 0], "test": [4, 3]},
            "counts has no image in validation",
        ),
        ("classes", ["a", "b", "c"], "counts has 2 classes in train, there are 3"),
        ("counts", {"train": [3, 2], "test": [4, 3]}, "counts has 0 classes in validation, there"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_named(tmp_path, key, value, message):
    write(tmp_path / "set")
    path = tmp_path / "set" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=rf"manifest.json: is no manifest \({message}"):
        load_manifest(tmp_path / "set")


def test_a_missing_or_malformed_manifest_is_named(tmp_path):
    with pytest.raises(UserError, match=r"manifest.json: no such file; run the stage prepare"):
        load_manifest(tmp_path / "set")
    write(tmp_path / "set")
    path = tmp_path / "set" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"channels": "three"}))
    with pytest.raises(UserError, match=r"manifest.json: is no manifest \(channels: "):
        load_manifest(tmp_path / "set")
    for text in ("[]", "3"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"manifest.json: is no manifest \(.+\)$"):
            load_manifest(tmp_path / "set")
    origin = json.dumps(content["origin"])
    whole = json.dumps(content)
    for text in ("{", whole.replace(origin, '{"x": NaN}'), whole.replace('"mean"', '"std"')):
        path.write_text(text)
        with pytest.raises(UserError, match=r"manifest.json: is not valid JSON \(.+\); run the "):
            load_manifest(tmp_path / "set")


def test_images_with_a_channel_of_one_value_are_refused(tmp_path):
    black = {
        name: Split(np.concatenate([split.images[:, :2], 0 * split.images[:, :1]], 1), split.labels)
        for name, split in SPLITS.items()
    }
    with pytest.raises(UserError, match=r"^all pixels of channel 2 are the same in train and val"):
        write_prepared(tmp_path / "set", source="folders", origin={}, classes=("a", "b"), **black)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["manifest.json", "train_images.npy"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    write(tmp_path / "set")
    (tmp_path / "set" / name).unlink()
    os.mkfifo(tmp_path / "set" / name)
    with pytest.raises(UserError, match=rf"{name}: .*(is no file; run the|not a regular file)"):
        load_split(tmp_path / "set", load_manifest(tmp_path / "set"), "train")


def test_an_unwritable_output_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/set: could not be written: "):
        write(tmp_path / "file" / "set")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    write(tmp_path / "set")
    before = (tmp_path / "set" / "manifest.json").read_bytes()

    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"could not be written: No space left on device"):
        write(tmp_path / "set", origin={"files": 4})
    assert (tmp_path / "set" / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
