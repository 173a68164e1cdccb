import io

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.data.crops import evaluation_crop, pixels, training_crop
from pipeline.data.images import load_image
from pipeline.errors import UserError


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def as_loaded(content: bytes) -> np.ndarray:
    return np.asarray(load_image("x", content).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("RGBA", "PNG"),
        ("1", "PNG"),
        ("L", "PNG"),
    ],
)
def test_each_mode_is_converted_as_for_images_in_memory(photo, mode, kind):
    content = encode(photo(9, 7).convert(mode), kind)
    image = pixels("x", content)
    assert (image.dtype, image.shape) == (torch.uint8, (3, 7, 9))
    assert np.array_equal(image.numpy(), as_loaded(content))


def test_sixteen_bits_keep_their_high_byte():
    content = encode(Image.fromarray(np.full((3, 4), 0xABCD, np.uint16)), "PNG")
    assert torch.equal(pixels("x", content), torch.full((3, 3, 4), 0xAB, dtype=torch.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_truncated_image_is_named(photo, kind):
    content = encode(photo(50, 50), kind)
    with pytest.raises(UserError, match=r"^train/a.JPEG: could not be decoded \(.+\)$"):
        pixels("train/a.JPEG", content[: len(content) // 2])


def test_no_image_is_named():
    with pytest.raises(UserError, match=r"^x: could not be decoded \(no image format that"):
        pixels("x", b"no image")


def test_evaluation_crops_the_centre_of_the_resized_image():
    image = torch.zeros(3, 20, 40, dtype=torch.uint8)
    image[:, 5:15, 15:25] = 200  # after resizing to 10 x 20: rows 2.5 to 7.5, columns 7.5 to 12.5
    crop = evaluation_crop(resize=10, size=4)(image)
    assert torch.equal(crop, torch.full((3, 4, 4), 200, dtype=torch.uint8))


def area_and_side(scale_min: float, flip: bool, seed: int) -> tuple[float, bool]:
    """Share of a horizontal ramp that a random crop spans, and whether it is mirrored."""
    torch.manual_seed(seed)
    ramp = torch.arange(256, dtype=torch.uint8).expand(3, 256, 256)
    row = training_crop(256, scale_min, flip)(ramp)[0, 0].int()
    return abs(int(row[-1] - row[0])) / 255, bool(row[-1] < row[0])


def test_training_crops_are_as_large_as_asked_and_mirrored_in_half_of_the_cases():
    drawn = [area_and_side(0.5, True, seed) for seed in range(200)]
    widths = [width for width, _ in drawn]
    assert 0.5 * 3 / 4 < min(widths) ** 2 < 0.6  # width² = area * aspect, 3/4 to 4/3
    assert max(widths) > 0.95
    assert 70 < sum(mirrored for _, mirrored in drawn) < 130
    assert not any(mirrored for _, mirrored in (area_and_side(0.5, False, s) for s in range(20)))
    assert min(area_and_side(1.0, False, seed)[0] for seed in range(20)) > 0.98
