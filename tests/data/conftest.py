import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.data.sources.indexing import write_index
from pipeline.data.sources.registry import load_source
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.params import Data, Streaming

DEFAULTS = {
    "source": "folders",
    "location": "",
    "image_size": 8,
    "validation": 0.25,
    "split_seed": 0,
    "limit": 0,
}


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def here(device="cpu", channels_last=False, rank=0, world_size=1) -> dict:
    """The arguments `execution` and `world` of batches."""
    execution = Execution(
        device=torch.device(device),
        autocast=None,
        compile=False,
        channels_last=channels_last,
        fused_optimizer=False,
        deterministic=True,
    )
    return {"execution": execution, "world": World(rank=rank, size=world_size)}


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


STREAMING = {
    "resize": 10,
    "crop_scale_min": 0.3,
    "unreadable": "refuse",
    "statistics": "measured",
    "decoder": "pillow",
}


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour that tells the number of an image below 1000, also through JPEG."""
    code = 7 * number % 1000  # for neighbours to differ in each channel
    return tuple(12 + 25 * (code // 10**digit % 10) for digit in range(3))


def number_of(pixels: np.ndarray) -> int:
    """The number that the mean colour (3,) tells."""
    code = sum(10**digit * round((value - 12) / 25) for digit, value in enumerate(pixels))
    return 143 * code % 1000


def numbered(number: int) -> Image.Image:
    """An image of one colour and of a size of its own."""
    return Image.new("RGB", (12 + number % 5, 11 + number % 3), colour_of(number))


class Indexed:
    """Numbered images of two classes (even and odd numbers) below `root`, and their index.

    Args:
        root: of the images.
        source: `folders` (JPEG) or `shards` (PNG, in row groups of seven).
        count: of train; test has half as many, with numbers that go on from there.
    """

    def __init__(self, root: Path, source: str, count: int) -> None:
        self.root, self.source = root, source
        for split, numbers in (
            ("train", range(count)),
            ("test", range(count, count + count // 2)),
        ):
            if source == "shards":
                self._write_shards(split, numbers)
                continue
            for number in numbers:
                path = self.path(split, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                numbered(number).save(path, quality=95)

    def path(self, split: str, number: int) -> Path:
        """The file of an image."""
        return self.root / split / ("even", "odd")[number % 2] / f"{number:03}.jpg"

    def _write_shards(self, split: str, numbers: range) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        for part in range(2):
            half = len(numbers) // 2
            chosen = numbers[half:] if part else numbers[:half]
            rows = [
                {"bytes": encode(numbered(number)), "path": f"{number}.png"} for number in chosen
            ]
            table = pa.table({"image": rows, "label": [number % 2 for number in chosen]})
            path = self.root / f"{split}-{part:05}-of-00002.parquet"
            pq.write_table(table, path, row_group_size=7)

    def prepare(self, **changes) -> Path:
        """Write the index; returns its folder."""
        of_data = DEFAULTS | {"source": self.source, "location": str(self.root)}
        data = Data(**of_data | {key: changes[key] for key in changes.keys() & DEFAULTS})
        streaming = Streaming(**STREAMING | {k: changes[k] for k in changes.keys() & STREAMING})
        folder = self.root.with_name(f"{self.root.name}-index")
        write_index(folder, load_source(data), data, streaming)
        return folder


@pytest.fixture
def indexed(tmp_path):
    """Make numbered images."""
    return lambda source="folders", count=40: Indexed(tmp_path / source, source, count)
