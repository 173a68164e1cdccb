"""Decode one image file into 8-bit pixels of one size."""

import functools
import io
import warnings
from pathlib import PurePath

import numpy as np
from PIL import ExifTags, Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.errors import UserError

# Pillow warns of damaged metadata, which some files of ImageNet have and no pixel depends on, and
# of large images. What cannot be decoded raises an error.
warnings.filterwarnings("ignore", module=r"PIL\.")


FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow reads more, some of them by starting other programs (EPS)."""


MAX_PIXELS = 2**28
"""The most that resizing may give: the longer side of a narrow image has no other bound."""


class UnreadableImageError(UserError):
    """An image cannot be read or decoded, although others may be fine."""


@functools.cache
def _suffixes() -> frozenset[str]:
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in FORMATS)


def has_image_suffix(name: str) -> bool:
    """Whether a file is named as an image of one of FORMATS (.jpg, .png, .webp, ...).

    A folder is searched for such files, so that none is found that `load_image` cannot decode for
    its format.
    """
    return PurePath(name).suffix.lower() in _suffixes()


def load_image(name: str, content: bytes) -> Image.Image:
    """Decode an image of one of FORMATS, in any mode.

    The EXIF orientation is applied, transparent pixels are laid over white, 16-bit samples keep
    their high byte (as Pillow does with 16-bit colour), and only the first frame of an animation
    counts.

    Args:
        name: name of the image in error messages.
        content: the bytes of the file.

    Returns:
        An image of mode `L` or `RGB`, 8 bits a sample.

    Raises:
        UnreadableImageError: the bytes are not an image, or a truncated one, or samples are not 8
            or 16 bits.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_eight_bits(image)
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"none of the formats {', '.join(FORMATS)}"
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(f"{name}: could not be decoded ({reason})") from error


def open_plain_jpeg(content: bytes) -> Image.Image | None:
    """Open a JPEG, without reading its pixels, if every decoder shows it in the same way.

    Returns:
        The image; None if it cannot be opened, is not a JPEG, has four components (CMYK) or three
        that are not YCbCr, or has to be turned as its EXIF orientation says.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    except Exception:  # as in load_image, which tells why
        return None
    if not isinstance(image, JpegImageFile) or image.format != "JPEG":  # several in one file: MPO
        return None
    names = bytes(component[0] for component in image.layer)
    ycbcr = names != b"RGB" and image.info.get("adobe_transform") != 0
    return image if image.mode in ("L", "RGB") and ycbcr and upright else None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point samples; 8 or 16 bits are allowed")
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.int64)
        if samples.min() < 0 or samples.max() > 0xFFFF:
            raise ValueError("samples of more than 16 bits; 8 or 16 bits are allowed")
        return Image.fromarray((samples >> 8).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def resized(name: str, image: Image.Image, shorter: int) -> tuple[int, int]:
    """Width and height of an image once its shorter side is resized, rounded as torchvision does.

    Args:
        name: what an error calls the image.
        image: any mode.
        shorter: the shorter side of the result in pixels.

    Raises:
        UnreadableImageError: the image is so narrow that the result has more than MAX_PIXELS.
    """
    longer = int(shorter * max(image.size) / min(image.size))
    if shorter * longer > MAX_PIXELS:
        raise UnreadableImageError(
            f"{name}: is {image.width} x {image.height} pixels, which would be "
            f"{shorter} x {longer}: too narrow"
        )
    return (shorter, longer) if image.width < image.height else (longer, shorter)


def fit(image: Image.Image, size: int) -> np.ndarray:
    """Resize the shorter side to `size` (bilinear, antialiased) and crop the centre.

    Args:
        image: mode `L` or `RGB`.
        size: height and width of the result in pixels.

    Returns:
        uint8 array of shape (3, size, size); a greyscale image has three equal channels.
    """
    square = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(square.convert("RGB")).transpose(2, 0, 1)
