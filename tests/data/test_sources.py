from pathlib import Path

import numpy as np
import pytest

from pipeline.data.sources.digits import load as load_digits
from pipeline.data.sources.registry import load_source
from pipeline.errors import UserError
from pipeline.params import resolve


def test_variables_in_the_location_are_expanded(monkeypatch):
    monkeypatch.setenv("PICTURES", "/mnt/pictures")
    assert resolve("$PICTURES/a") == resolve("${PICTURES}/a") == Path("/mnt/pictures/a")
    assert resolve("plain/folder") == Path("plain/folder")


@pytest.mark.parametrize("location", ["$NOT_SET/a", "${NOT_SET}/a"])
def test_an_unset_variable_is_named(data, location, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(UserError, match=r"data.location is '.*': .* NOT_SET is not set$"):
        load_source(data(location=location))


@pytest.mark.parametrize("source", ["folders", "shards"])
def test_a_missing_folder_is_named(data, source, tmp_path):
    with pytest.raises(UserError, match=r"absent: no such folder \(data.location\)$"):
        load_source(data(source=source, location=str(tmp_path / "absent")))


def test_one_class_is_too_few(data, photo, tmp_path):
    for split in ("train", "test"):
        folder = tmp_path / split / "cat"
        folder.mkdir(parents=True)
        photo(8, 8).save(folder / "1.png")
    with pytest.raises(UserError, match=r"holds one class \(cat\), at least two are needed"):
        load_source(data(location=str(tmp_path)))


def test_more_classes_than_a_network_can_have(data, monkeypatch):
    monkeypatch.setattr("pipeline.data.sources.registry.LARGEST_CLASSES", 9)
    with pytest.raises(
        UserError, match=r"^data.location is '': holds 10 classes, at most 9 are al"
    ):
        load_source(data(source="digits", location=""))


def test_digits_are_split_once_and_for_all():
    source = load_digits(Path())
    assert source.classes == tuple("0123456789")
    assert (source.train.labels.size, source.test.labels.size) == (1438, 359)
    sizes = np.bincount(source.train.labels) + np.bincount(source.test.labels)
    assert (np.abs(np.bincount(source.test.labels) - sizes * 359 / 1797) < 1).all()
    assert source.test.labels[:10].tolist() == load_digits(Path()).test.labels[:10].tolist()
    assert source.origin["package"] == "scikit-learn"


def test_digits_keep_the_pixels_of_scikit_learn():
    from sklearn.datasets import load_digits as original

    source = load_digits(Path())
    pixels = np.concatenate(
        [
            samples.decode(np.arange(samples.labels.size), 8)[:, 0]
            for samples in (source.train, source.test)
        ]
    )
    expected = np.rint(original().images / 16 * 255).astype(np.uint8)
    assert {image.tobytes() for image in pixels} == {image.tobytes() for image in expected}


def test_digits_are_upsampled():
    images = load_digits(Path()).test.decode(np.arange(3), 16)
    assert images.shape == (3, 3, 16, 16)
    assert images.max() > 200
