"""Make images of ImageNet's usual size, to measure streaming where ImageNet is not available.

Small images are enlarged to 500 x 375 pixels, and noise makes their files about as large as
ImageNet's (110 KB). They are written twice: as class folders, and as Parquet shards with 100 rows
in a row group, in random order, which is how Hugging Face stores ImageNet.

reads   IMAGES, class folders train/<class>/* and val/<class>/*
writes  OUT/folders and OUT/shards
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data.images import load_image
from pipeline.errors import UserError, run

SIZE = 500, 375
NOISE = 18.0
"""Standard deviation of the noise, for pixel values from 0 to 255."""
QUALITY = 93
ROWS, ROWS_OF_GROUP = 1000, 100
SPLITS = {"train": "train", "val": "validation"}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="class folders")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=3000, help="of train; a tenth of it of val")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    for split, count in (("train", arguments.count), ("val", arguments.count // 10)):
        files = sorted((arguments.images / split).glob("*/*"))
        if len(files) < count:
            raise UserError(f"{arguments.images / split}: holds {len(files)} files, not {count}")
        classes = sorted({path.parent.name for path in files})
        rows = []
        for index in random.choice(len(files), count, replace=False):
            path = files[index]
            content = enlarge(load_image(str(path), path.read_bytes()), random)
            copy = arguments.out / "folders" / split / path.parent.name / f"{path.stem}.JPEG"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            image = {"bytes": content, "path": copy.name}
            rows.append({"image": image, "label": classes.index(path.parent.name)})
        write_shards(arguments.out / "shards", SPLITS[split], rows)


def enlarge(image: Image.Image, random: np.random.Generator) -> bytes:
    """Enlarge an image to SIZE, add noise and encode it as JPEG."""
    large = np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC), np.float32)
    noisy = large + random.normal(0, NOISE, large.shape).astype(np.float32)
    written = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=QUALITY)
    return written.getvalue()


def write_shards(folder: Path, split: str, rows: list[dict[str, object]]) -> None:
    """Write train-*.parquet or validation-*.parquet, with at most ROWS rows in each."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [rows[first : first + ROWS] for first in range(0, len(rows), ROWS)]
    for number, part in enumerate(parts):
        path = folder / f"{split}-{number:05}-of-{len(parts):05}.parquet"
        pq.write_table(pa.Table.from_pylist(part), path, row_group_size=ROWS_OF_GROUP)


if __name__ == "__main__":
    run(main)
