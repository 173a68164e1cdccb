"""The index of images that are streamed: where each is, its label, size and checksum."""

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import JsonValue

from pipeline.artifacts import atomic_folder, atomic_path, digest_of_lines, sha256, write_json
from pipeline.data.crops import EvaluationCrop
from pipeline.data.encoded import Encoded, Reader
from pipeline.data.images import UnreadableImageError, load_image, resized
from pipeline.data.prepared import (
    MANIFEST,
    SplitName,
    StreamedManifest,
    check_channels,
    statistics_of_counts,
)
from pipeline.data.sources.base import EncodedSamples, Source, in_threads
from pipeline.data.sources.splitting import choose
from pipeline.errors import UserError, one_line
from pipeline.params import Data, Streaming

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel."""
IMAGENET: Statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and std with which torchvision's pretrained networks were trained."""
MAX_NAMED_IN_LINE = 3


@dataclass
class Checked:
    """What was learned from decoding the images of a split.

    Attributes:
        sizes: bytes of each image, int64 (N,).
        checksums: SHA-256 of each image.
        problems: why an image cannot be decoded, by index.
        counts: int64 (3, 256), on the CPU: pixels of each value in the crops of evaluation.
    """

    sizes: np.ndarray
    checksums: list[str]
    problems: dict[int, str] = field(default_factory=dict)
    counts: torch.Tensor = field(default_factory=lambda: torch.zeros(3, 256, dtype=torch.int64))


def write_index(folder: Path, source: Source, data: Data, streaming: Streaming) -> StreamedManifest:
    """Decode every image once and write {train,validation,test}.parquet and manifest.json.

    Columns: `path` below data.location, `row` in a Parquet file and its row `group` (-1: the file
    is the image), `label`, `size` in bytes and `sha256` of the image. `folder` appears, or is
    replaced, as a whole.

    Raises:
        UserError: images cannot be decoded and streaming.unreadable does not say to skip them; a
            class is left without an image in a split; a shard is damaged or its row groups too
            large; all pixels of a channel are the same; or the folder cannot be written.
    """
    parts: dict[SplitName, tuple[Encoded, np.ndarray]] = {}
    for name, (samples, chosen) in choose(source, data).items():
        assert isinstance(samples, EncodedSamples), f"{data.source} cannot be streamed"
        parts[name] = samples.encoded.take(chosen), samples.labels[chosen]
        parts[name][0].check_row_groups()
    checked = {
        name: _check(name, encoded, data.image_size, streaming.resize)
        for name, (encoded, _) in parts.items()
    }
    unreadable = _unreadable(parts, checked, data, streaming)
    tables = {
        name: _table(name, *part, checked[name], source.classes) for name, part in parts.items()
    }
    if streaming.statistics == "imagenet":
        statistics = IMAGENET
    else:
        counts = checked["train"].counts + checked["validation"].counts
        statistics = statistics_of_counts(counts.numpy())
        check_channels(statistics[1])
    with atomic_folder(folder, MANIFEST) as built:
        for name, table in tables.items():
            with atomic_path(built / f"{name}.parquet") as path:
                pq.write_table(table, path, compression="zstd")
        manifest = StreamedManifest(
            source=data.source,
            origin=_origin(tables),
            classes=source.classes,
            channels=3,
            image_size=data.image_size,
            counts={
                name: tuple(np.bincount(table["label"].to_numpy()).tolist())
                for name, table in tables.items()
            },
            mean=statistics[0],
            std=statistics[1],
            checksums={path.name: sha256(path) for path in sorted(built.iterdir())},
            location=data.location,
            streaming=streaming,
            unreadable=unreadable,
        )
        write_json(built / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _check(name: str, encoded: Encoded, size: int, resize: int) -> Checked:
    crop = EvaluationCrop(resize, size)
    count = len(encoded.rows)
    checked = Checked(np.zeros(count, np.int64), [""] * count)
    offsets = torch.arange(3)[:, None, None] * 256

    def check_block(block: np.ndarray) -> torch.Tensor:
        counts = torch.zeros(3 * 256, dtype=torch.int64)
        reader = Reader(encoded)
        for index in block.tolist():
            try:
                content = reader.read(index)
                image = load_image(encoded.full_name(index), content).convert("RGB")
                resized(encoded.full_name(index), image, resize)
            except UnreadableImageError as error:
                checked.problems[index] = str(error).removeprefix(f"{encoded.root}/")
                continue
            checked.sizes[index] = len(content)
            checked.checksums[index] = hashlib.sha256(content).hexdigest()
            counts += (crop(image) + offsets).flatten().bincount(minlength=3 * 256)  # frees the GIL
        return counts

    for counts in in_threads(check_block, encoded.blocks(), name):
        checked.counts += counts.view(3, 256)
    return checked


def _unreadable(
    parts: dict[SplitName, tuple[Encoded, np.ndarray]],
    checked: dict[SplitName, Checked],
    data: Data,
    streaming: Streaming,
) -> tuple[str, ...]:
    """Names of the images to leave out."""
    problems = [
        each.problems[index] for each in checked.values() for index in sorted(each.problems)
    ]
    if problems and streaming.unreadable == "refuse":
        images = sum(len(labels) for _, labels in parts.values())
        named = "; ".join(problems)
        if len(problems) > MAX_NAMED_IN_LINE:
            print(*map(one_line, problems), sep="\n", file=sys.stderr)
            named = "see above"
        raise UserError(
            f"data.location is {data.location!r}: {len(problems)} of {images} images are "
            f"unreadable ({named}); replace them, or set streaming.unreadable to skip"
        )
    return tuple(
        encoded.name(index)
        for name, (encoded, _) in parts.items()
        for index in sorted(checked[name].problems)
    )


def _table(
    name: str, encoded: Encoded, labels: np.ndarray, checked: Checked, classes: tuple[str, ...]
) -> pa.Table:
    """The index of a split: columns of the images that can be decoded."""
    readable = np.delete(np.arange(len(labels)), sorted(checked.problems))
    absent = np.setdiff1d(np.arange(len(classes)), labels[readable])
    if absent.size:
        raise UserError(f"no image of class {classes[absent[0]]} in {name} can be decoded")
    table = pa.table(
        {
            "path": encoded.paths,
            "row": encoded.rows,
            "group": encoded.groups,
            "label": labels,
            "size": checked.sizes,
            "sha256": checked.checksums,
        }
    )
    return table.take(pa.array(readable))


def _origin(tables: dict[SplitName, pa.Table]) -> dict[str, JsonValue]:
    """Number of all images, and the SHA-256 of what `sha256sum` would print for them."""
    sums = []
    for table in tables.values():
        columns = (table[name].to_pylist() for name in ("path", "row", "sha256"))
        for path, row, checksum in zip(*columns, strict=True):
            sums.append((path if row < 0 else f"{path} row {row}", checksum))
    return {"images": len(sums), "sha256": digest_of_lines(sums)}
