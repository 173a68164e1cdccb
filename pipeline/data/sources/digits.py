"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, nothing to download.

The package has no split, so 20 % of each class, chosen with a fixed seed, are the test set.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from pipeline.data.sources.base import PixelSamples, Source
from pipeline.data.sources.splitting import stratified_choice

TEST_SHARE = 0.2
TEST_SEED = 0


def load(_location: Path) -> Source:
    """Load the digits, grey levels 0..16 stretched to 0..255; prepare upsamples them bilinearly."""
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target
    test = stratified_choice(labels, round(TEST_SHARE * labels.size), TEST_SEED)
    train = np.setdiff1d(np.arange(labels.size), test)
    return Source(
        classes=tuple(str(name) for name in digits.target_names),
        train=PixelSamples(pixels[train], labels[train]),
        test=PixelSamples(pixels[test], labels[test]),
        describe=lambda: {"package": "scikit-learn", "version": version("scikit-learn")},
    )
