import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipeline.data.images import FORMATS, fit, has_image_suffix, load_image
from pipeline.errors import UserError
from tests.conftest import ROOT
from tests.data.conftest import encode


def solid(mode: str, colour, size=(4, 3)) -> Image.Image:
    return Image.new(mode, size, colour)


def palette_with_transparency() -> bytes:
    image = solid("P", 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    return encode(image, transparency=1)


def palette() -> bytes:
    image = solid("P", 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    return encode(image)


def sixteen_bit(value: int) -> Image.Image:
    return Image.fromarray(np.full((3, 4), value, np.uint16))


@pytest.mark.parametrize(
    ("content", "mode", "pixel"),
    [
        (encode(solid("L", 77)), "L", 77),
        (encode(solid("1", 1)), "L", 255),
        (encode(solid("RGB", (1, 2, 3))), "RGB", (1, 2, 3)),
        (palette(), "RGB", (200, 100, 50)),
        (palette_with_transparency(), "RGB", (255, 255, 255)),
        (encode(solid("RGBA", (0, 0, 0, 0))), "RGB", (255, 255, 255)),
        (encode(solid("RGBA", (255, 0, 0, 51))), "RGB", (255, 204, 204)),
        (encode(solid("LA", (0, 51))), "RGB", (204, 204, 204)),
        (encode(solid("CMYK", (0, 255, 255, 0)), "TIFF"), "RGB", (255, 0, 0)),
        (encode(solid("CMYK", (0, 0, 0, 255)), "JPEG"), "RGB", (0, 0, 0)),
        (encode(sixteen_bit(0xABCD)), "L", 0xAB),
        (encode(sixteen_bit(0xFFFF), "TIFF"), "L", 255),
        (encode(solid("I", 0x1234), "TIFF"), "L", 0x12),
        (encode(solid("L", 77), "GIF"), "RGB", (77, 77, 77)),
    ],
    ids=str,
)
def test_each_mode_becomes_8_bit_grey_or_rgb(content, mode, pixel):
    image = load_image("x", content)
    assert image.mode == mode
    assert image.size == (4, 3)
    assert {image.getpixel((x, y)) for x in range(4) for y in range(3)} == {pixel}


def test_a_large_image_is_decoded_without_a_warning(tmp_path):
    """Pillow warns of images of more than 89 million pixels, and refuses twice as many."""
    path = tmp_path / "large.png"
    Image.new("1", (9500, 9500)).save(path)
    command = "import sys, pathlib; from pipeline.data.images import load_image; "
    command += "print(load_image('x', pathlib.Path(sys.argv[1]).read_bytes()).size)"
    end = subprocess.run(
        [sys.executable, "-c", command, path],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (end.stdout, end.stderr) == ("(9500, 9500)\n", "")


def test_exif_orientation_is_applied():
    image = solid("RGB", (0, 0, 0), (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    assert load_image("x", encode(image, "JPEG", exif=exif)).size == (4, 6)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a text file named .jpg", "none of the formats BMP, GIF, JPEG, "),
        (b"", "none of the formats BMP, GIF, JPEG, "),
        (encode(solid("RGB", (1, 2, 3)), "EPS"), "none of the formats"),
        (encode(solid("RGB", (1, 2, 3)), "TGA"), "none of the formats"),
        (encode(solid("F", 0.5), "TIFF"), "floating-point samples"),
        (encode(solid("I", 70_000), "TIFF"), "more than 16 bits"),
        (encode(solid("I", -1), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_is_no_usable_image_is_named(content, reason):
    with pytest.raises(UserError, match=reason) as raised:
        load_image("cats/a.jpg", content)
    assert str(raised.value).startswith("cats/a.jpg: could not be decoded (")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [*FORMATS])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_images_of_every_format_are_refused(photo, kind, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encode(Image.fromarray(noise), kind)
    with pytest.raises(UserError, match=r"^cut: could not be decoded \(.+\)$"):
        load_image("cut", content[: int(kept * len(content))])


@pytest.mark.parametrize("kind", [*FORMATS])
def test_the_names_of_every_format_are_known(kind):
    suffixes = [each for each, name in Image.registered_extensions().items() if name == kind]
    assert suffixes
    for suffix in suffixes:
        assert has_image_suffix(f"a.b{suffix}") and has_image_suffix(f"A{suffix.upper()}")


@pytest.mark.parametrize("name", ["a.psd", "a.tga", "a.eps", "a.png.txt", "png", ".png", ""])
def test_other_names_are_no_images(name):
    assert not has_image_suffix(name)


def test_a_jpeg_whose_pixels_alone_are_damaged_is_filled_in():
    """As libjpeg does, without telling; docs/imagenet.md says so."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = bytearray(encode(Image.fromarray(noise), "JPEG"))
    whole = np.asarray(load_image("whole", bytes(content)), int)
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    damaged = np.asarray(load_image("damaged", bytes(content)), int)
    assert damaged.shape == whole.shape
    assert (damaged[:8] == whole[:8]).all()
    assert (damaged != whole).any()


def test_fit_scales_the_shorter_side_and_crops_the_centre():
    wide = np.zeros((4, 12, 3), np.uint8)
    wide[:, :4], wide[:, 4:8], wide[:, 8:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    for image in (Image.fromarray(wide), Image.fromarray(wide.transpose(1, 0, 2))):
        same, smaller = fit(image, 4), fit(image, 2)
        assert same.shape == (3, 4, 4)
        assert same.dtype == np.uint8
        np.testing.assert_array_equal(same[:, 1:3, 1:3].max((1, 2)), (0, 255, 0))
        np.testing.assert_array_equal(same, np.broadcast_to([[[0]], [[255]], [[0]]], (3, 4, 4)))
        assert smaller.shape == (3, 2, 2)


def test_fit_leaves_an_image_of_the_right_size_alone_and_repeats_grey():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5), np.uint8)
    fitted = fit(Image.fromarray(pixels), 5)
    for channel in fitted:
        np.testing.assert_array_equal(channel, pixels)


def test_fit_upsamples_bilinearly():
    image = Image.fromarray(np.array([[0, 200], [0, 200]], np.uint8))
    np.testing.assert_array_equal(fit(image, 4)[0], [[0, 50, 150, 200]] * 4)
