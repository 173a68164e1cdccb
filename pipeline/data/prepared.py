"""A prepared data set on disk: three splits as plain arrays, and a manifest."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import Field, JsonValue, ValidationError, model_validator

from pipeline.artifacts import (
    atomic_folder,
    read_array,
    read_json,
    sha256,
    write_array,
    write_json,
)
from pipeline.errors import UserError, first_problem
from pipeline.params import (
    LARGEST_CLASSES,
    Channels,
    NonNegativeInt,
    Pixels,
    Section,
    Streaming,
    Text,
    UnitShare,
)

SplitName = Literal["train", "validation", "test"]
MANIFEST = "manifest.json"


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
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=LARGEST_CLASSES)]
    channels: Channels
    image_size: Pixels
    """Height and width in pixels."""
    counts: dict[SplitName, tuple[NonNegativeInt, ...]]
    """Images of each class in each split."""
    mean: tuple[UnitShare, ...]
    """Mean of each channel over all pixels of train and validation, scaled to [0, 1]."""
    std: tuple[Annotated[float, Field(gt=0, le=1)], ...]
    """Population standard deviation of each channel over the same pixels."""
    checksums: dict[str, str]
    """SHA-256 of each file beside the manifest."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean has {len(self.mean)} values and std {len(self.std)}, channels is "
                f"{self.channels}"
            )
        twice = [name for name, count in Counter(self.classes).items() if count > 1]
        if twice:
            raise ValueError(f"classes names {twice[0]!r} twice")
        for name in get_args(SplitName):
            found = len(self.counts.get(name, ()))
            if found != len(self.classes):
                raise ValueError(
                    f"counts has {found} classes in {name}, there are {len(self.classes)}"
                )
            if not any(self.counts[name]):
                raise ValueError(f"counts has no image in {name}")
        return self

    @property
    def image_kind(self) -> dict[str, int]:
        """Number of classes, channels, and height and width in pixels, by the key of each."""
        return {
            "classes": len(self.classes),
            "channels": self.channels,
            "image_size": self.image_size,
        }


class StreamedManifest(Manifest):
    """What an index holds, and how its images are read and cropped."""

    location: Text
    """Folder of the images as params.yaml names it."""
    streaming: Streaming
    unreadable: tuple[str, ...]
    """Images that are left out because they cannot be read or decoded."""

    @model_validator(mode="after")
    def _fits_streaming(self) -> Self:
        if self.channels != 3:
            raise ValueError(f"channels is {self.channels}, streamed images have 3")
        if self.streaming.resize < self.image_size:
            raise ValueError(
                f"streaming.resize is {self.streaming.resize}, less than image_size, "
                f"{self.image_size}"
            )
        return self


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
        UserError: all pixels of a channel are the same, or the folder cannot be written. What was
            there before stays, unless the new folder could not be renamed in the end.
    """
    splits: dict[SplitName, Split] = {"train": train, "validation": validation, "test": test}
    with atomic_folder(folder, MANIFEST) as built:
        for name, split in splits.items():
            write_array(built / f"{name}_images.npy", np.ascontiguousarray(split.images))
            write_array(built / f"{name}_labels.npy", split.labels)
        mean, std = channel_statistics(train.images, validation.images)
        check_channels(std)
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
        counts: int64 (C, 256), number of pixels of each value.
    """
    values = np.arange(256, dtype=np.float64) / 255
    means, stds = [], []
    for of_channel in counts:
        mean = np.average(values, weights=of_channel)
        means.append(float(mean))
        stds.append(float(np.sqrt(np.average((values - mean) ** 2, weights=of_channel))))
    return tuple(means), tuple(stds)


def check_channels(std: tuple[float, ...]) -> None:
    """Refuse images with a channel whose standard deviation, a divisor, is 0."""
    if 0.0 in std:
        raise UserError(
            f"all pixels of channel {std.index(0.0)} are the same in train and validation: there "
            "is nothing to learn from"
        )


def load_manifest(folder: Path) -> Manifest:
    """Read manifest.json of a prepared folder, a StreamedManifest if it is that of an index.

    Raises:
        UserError: it is missing or malformed.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; run the stage prepare first") from error
    streamed = isinstance(content, dict) and "streaming" in content
    kind = StreamedManifest if streamed else Manifest
    try:
        return kind.model_validate_json(json.dumps(content))  # takes lists as tuples
    except ValidationError as error:
        raise UserError(f"{path}: is no manifest ({first_problem(error)})") from error


def load_split(folder: Path, manifest: Manifest, name: SplitName) -> Split:
    """Read a split of a prepared folder into memory.

    Raises:
        UserError: a file is missing, differs from the manifest's checksum, or does not fit the
            manifest.
    """
    paths = folder / f"{name}_images.npy", folder / f"{name}_labels.npy"
    for path in paths:
        check_sum(path, manifest)
    images, labels = map(read_array, paths)
    wanted = (sum(manifest.counts[name]), manifest.channels, *(manifest.image_size,) * 2)
    if images.dtype != np.uint8 or images.shape != wanted:
        raise UserError(
            f"{paths[0]}: holds {images.dtype} of shape {images.shape}, manifest.json says uint8 "
            f"of shape {wanted}"
        )
    check_labels(paths[1], labels, manifest, name)
    return Split(images, labels)


def check_labels(path: Path, labels: np.ndarray, manifest: Manifest, name: SplitName) -> None:
    """Refuse labels, read from `path`, that do not match the manifest's counts of a split."""
    classes = len(manifest.classes)
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise UserError(f"{path}: holds {labels.dtype} of shape {labels.shape}, not int64 (N,)")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise UserError(f"{path}: holds the label {wrong[0]}, allowed are 0 to {classes - 1}")
    counts = tuple(np.bincount(labels, minlength=classes).tolist())
    if counts != manifest.counts[name]:
        raise UserError(f"{path}: holds other numbers of images of each class than manifest.json")


def check_sum(path: Path, manifest: Manifest) -> None:
    """Refuse a file beside the manifest that differs from its checksum, or cannot be read."""
    try:
        found = sha256(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except OSError as error:
        raise UserError(f"{path}: could not be read: {error.strerror}") from error
    if found != manifest.checksums.get(path.name):
        raise UserError(f"{path}: differs from its checksum in manifest.json")
