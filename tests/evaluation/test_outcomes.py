import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.errors import UserError
from pipeline.evaluation.outcomes import read_outcomes, write_outcomes


@pytest.mark.parametrize("images", [1, 7, 8, 9, 360, 10_000])
def test_what_is_written_is_read(tmp_path, images):
    correct = np.random.default_rng(images).random(images) < 0.7
    write_outcomes(tmp_path / "outcomes" / "run.safetensors", correct)
    read = read_outcomes(tmp_path / "outcomes" / "run.safetensors")
    assert read.dtype == bool
    assert np.array_equal(read, correct)


def test_ten_thousand_images_take_little_and_always_the_same_bytes(tmp_path):
    correct = np.random.default_rng(0).random(10_000) < 0.7
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    write_outcomes(first, correct)
    write_outcomes(second, correct.copy())
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 1400


def packed(*numbers):
    return np.array(numbers, dtype=np.uint8)


@pytest.mark.parametrize(
    ("correct", "metadata", "message"),
    [
        (packed(255), {"images": "9"}, r"uint8 \(1,\), the outcomes of 9 images are uint8 \(2,\)"),
        (packed(255, 0), {"images": "8"}, r"uint8 \(2,\), .* 8 images are uint8 \(1,\)"),
        (packed(255).astype(np.int8), {"images": "8"}, r"int8 \(1,\), .* are uint8 \(1,\)"),
        (packed(0b1110_0001), {"images": "3"}, "set behind the last of 3 images"),
        (packed(255), {"images": "-8"}, "images is '-8' in its metadata"),
        (packed(255), None, "images is '' in its metadata"),
    ],
)
def test_bits_of_another_number_of_images_are_told(tmp_path, correct, metadata, message):
    path = tmp_path / "run.safetensors"
    save_file({"correct": correct}, path, metadata)
    with pytest.raises(UserError, match=message) as caught:
        read_outcomes(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_missing_damaged_or_of_something_else_are_told(tmp_path):
    path = tmp_path / "run.safetensors"
    with pytest.raises(UserError, match="no such file"):
        read_outcomes(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="is not a readable file of outcomes"):
        read_outcomes(path)
    save_file({"maps": packed(1)}, path, {"images": "8"})
    with pytest.raises(UserError, match="is not a readable file of outcomes"):
        read_outcomes(path)
