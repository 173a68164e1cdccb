"""Preparing image files for an exported network, in the way the test images were prepared."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artifacts import reading
from pipeline.data.images import fit, load_image, resized
from pipeline.inference.manifest import Manifest


def read_pixels(path: Path, manifest: Manifest) -> np.ndarray:
    """Decode an image file of any size and mode (see `load_image`) and bring it to size.

    A network for grey images sees the luminance of coloured ones.

    Args:
        path: The file.
        manifest: Manifest of the network, which says what it takes.

    Returns:
        uint8 (channels, image_size, image_size).

    Raises:
        UserError: the file cannot be read or decoded.
    """
    with reading(path, "an image"):
        content = path.read_bytes()
    image = load_image(str(path), content).convert("L" if manifest.channels == 1 else "RGB")
    size = manifest.image_size
    if manifest.resize is None:
        return fit(image, size)[: manifest.channels]
    return _central_crop(str(path), image.convert("RGB"), manifest.resize, size)[
        : manifest.channels
    ]


def _central_crop(name: str, image: Image.Image, resize: int, size: int) -> np.ndarray:
    """Resize the shorter side to `resize` pixels and crop the centre.

    Lengths are rounded as `EvaluationCrop` does. That class resizes with torchvision, whose pixels
    differ from Pillow's by one level at most.
    """
    width, height = resized(name, image, resize)
    left, top = round((width - size) / 2), round((height - size) / 2)
    crop = image.resize((width, height), Image.Resampling.BILINEAR).crop(
        (left, top, left + size, top + size)
    )
    return np.asarray(crop).transpose(2, 0, 1)
