"""A prepared data set on disk: three splits as plain arrays, and a manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import JsonValue, ValidationError

from pipeline.artifacts import atomic_folder, read_array, sha256, write_array, write_json
from pipeline.errors import UserError
from pipeline.params import Section, Streaming

SplitName = Literal["train", "validation", "test"]
MANIFEST = "manifest.json"
"""The file that every prepared folder has."""


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and their labels int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


class Manifest(Section):
    """What a prepared folder holds and where it came from."""

    source: str
    origin: dict[str, JsonValue]
    """Package and version, or names of files with their SHA-256."""
    classes: tuple[str, ...]
    channels: int
    image_size: int
    """Height and width in pixels."""
    counts: dict[SplitName, tuple[int, ...]]
    """Images of each class in each split."""
    mean: tuple[float, ...]
    """Of each channel over all pixels of train and validation, scaled to [0, 1]."""
    std: tuple[float, ...]
    """Likewise, the population standard deviation."""
    checksums: dict[str, str]
    """SHA-256 of each file beside the manifest."""


class StreamedManifest(Manifest):
    """What an index holds, and how its images are read and cropped."""

    location: str
    """Folder of the images as params.yaml names it."""
    streaming: Streaming
    unreadable: tuple[str, ...]
    """Images that are left out because they cannot be decoded."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set in memory."""

    train: Split
    validation: Split
    test: Split
    manifest: Manifest


def write_prepared(
    folder: Path,
    *,
    source: str,
    origin: dict[str, JsonValue],
    classes: tuple[str, ...],
    train: Split,
    validation: Split,
    test: Split,
) -> Manifest:
    """Write the splits and their manifest; `folder` appears, or is replaced, as a whole.

    Raises:
        UserError: the folder cannot be written; what was there before is untouched.
    """
    splits: dict[SplitName, Split] = {"train": train, "validation": validation, "test": test}
    with atomic_folder(folder, MANIFEST) as built:
        for name, split in splits.items():
            write_array(built / f"{name}_images.npy", np.ascontiguousarray(split.images))
            write_array(built / f"{name}_labels.npy", split.labels)
        mean, std = channel_statistics(train.images, validation.images)
        manifest = Manifest(
            source=source,
            origin=origin,
            classes=classes,
            channels=train.images.shape[1],
            image_size=train.images.shape[2],
            counts={
                name: tuple(np.bincount(split.labels, minlength=len(classes)).tolist())
                for name, split in splits.items()
            },
            mean=mean,
            std=std,
            checksums={path.name: sha256(path) for path in sorted(built.iterdir())},
        )
        write_json(built / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def channel_statistics(*images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, pixel values scaled to [0, 1].

    Args:
        images: uint8 arrays (N, C, H, W) with the same C.
    """
    counts = np.zeros((images[0].shape[1], 256), np.int64)
    for each in images:
        for channel in range(len(counts)):
            counts[channel] += np.bincount(each[:, channel].ravel(), minlength=256)
    return statistics_of_counts(counts)


def statistics_of_counts(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel, pixel values scaled to [0, 1].

    Computed from integer histograms, so that neither order nor number of images costs precision.

    Args:
        counts: int64 (C, 256), pixels of each value.
    """
    values = np.arange(256, dtype=np.float64) / 255
    means, stds = [], []
    for of_channel in counts:
        mean = np.average(values, weights=of_channel)
        means.append(float(mean))
        stds.append(float(np.sqrt(np.average((values - mean) ** 2, weights=of_channel))))
    return tuple(means), tuple(stds)


def load_manifest(folder: Path) -> Manifest:
    """Read manifest.json of a prepared folder, a StreamedManifest if it is that of an index.

    Raises:
        UserError: it is missing or malformed.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; run the stage prepare first") from error
    kind = StreamedManifest if b'"streaming":' in content else Manifest
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: is no manifest ({key}: {first['msg']})") from error


def load_prepared(folder: Path) -> Prepared:
    """Read a prepared folder into memory.

    Raises:
        UserError: a file is missing, or differs from the manifest's checksum.
    """
    manifest = load_manifest(folder)

    def load_split(name: SplitName) -> Split:
        images, labels = folder / f"{name}_images.npy", folder / f"{name}_labels.npy"
        for path in (images, labels):
            check_sum(path, manifest)
        return Split(read_array(images), read_array(labels))

    return Prepared(load_split("train"), load_split("validation"), load_split("test"), manifest)


def check_sum(path: Path, manifest: Manifest) -> None:
    """Refuse a file beside the manifest, if it is there, that differs from its checksum."""
    if path.is_file() and sha256(path) != manifest.checksums.get(path.name):
        raise UserError(f"{path}: differs from its checksum in manifest.json")
