"""Which test images a network gets right, one bit per image."""

import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pipeline.artifacts import reading, write_bytes
from pipeline.errors import UserError


def write_outcomes(path: Path, correct: np.ndarray) -> None:
    """Write the outcome of every test image as packed bits; equal outcomes give equal bytes.

    The file is safetensors: `correct`, uint8 (ceil(images / 8),), the first image in the highest
    bit, and the number of images in the metadata. Ten thousand images take 1.4 kB.

    Args:
        path: File to be written.
        correct: bool (images,), in the order of the test split.
    """
    packed = np.packbits(correct)
    write_bytes(path, save({"correct": packed}, metadata={"images": str(len(correct))}))


def read_outcomes(path: Path) -> np.ndarray:
    """Read what `write_outcomes` wrote.

    Returns:
        bool (images,), in the order of the test split.

    Raises:
        UserError: the file is missing, is not a safetensors file, or does not hold as many bits as
            the number of images it states.
    """
    with (
        reading(path, "a readable file of outcomes", SafetensorError),
        safe_open(path, framework="np") as file,
    ):
        images = (file.metadata() or {}).get("images", "")
        packed = file.get_tensor("correct")
    if not re.fullmatch("[0-9]{1,12}", images):
        raise UserError(f"{path}: images is {images!r} in its metadata, a number is needed")
    count = int(images)
    wanted = (-(-count // 8),)
    if packed.dtype != np.uint8 or packed.shape != wanted:
        raise UserError(
            f"{path}: correct is {packed.dtype} {packed.shape}, the outcomes of {count} images are "
            f"uint8 {wanted}"
        )
    bits = np.unpackbits(packed)
    if bits[count:].any():
        raise UserError(f"{path}: bits are set behind the last of {count} images")
    return bits[:count].astype(bool)
