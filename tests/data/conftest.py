import numpy as np
import pytest
from PIL import Image

from pipeline.params import Data

DEFAULTS = {
    "source": "folders",
    "location": "",
    "image_size": 8,
    "validation": 0.25,
    "split_seed": 0,
    "limit": 0,
}


@pytest.fixture
def data():
    """Make the section `data` of a params file with some values changed."""
    return lambda **changes: Data(**(DEFAULTS | changes))


@pytest.fixture
def photo():
    """Make a smooth RGB image of a given width and height that differs with `seed`."""

    def make(width: int, height: int, seed: int = 0) -> Image.Image:
        corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
        return Image.fromarray(corners).resize((width, height), Image.Resampling.BICUBIC)

    return make
