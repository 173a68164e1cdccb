"""What an exported network is and where it came from: the manifest beside its model."""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from pipeline.artifacts import read_json, reading, sha256, write_json
from pipeline.errors import UserError, first_problem

MANIFEST = "export.json"
"""The file that every export has."""
MODEL, WEIGHTS = "model.xml", "model.bin"
"""OpenVINO's own format: the graph, and its constants one after the other."""
README = "README.md"
VERSION = 1
Pixels = Annotated[int, Field(gt=0, le=2**13)]
"""As in `pipeline.params`, which takes longer to import."""


class Manifest(BaseModel):
    """An exported network in words and numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    version: int
    """Version of this format."""
    architecture: dict[str, Any]
    """See `pipeline.models.architecture.Architecture`."""
    row: str
    seed: int
    weights_sha256: str
    """SHA-256 of best.safetensors, the trained network that was exported."""
    debug: bool
    """Whether it was trained with a debug switch on, and so is no result."""
    data: dict[str, Any]
    """Section `data` of the params it was trained with."""
    origin: dict[str, Any]
    """Where the images came from: package and version, or names of files with their SHA-256."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    channels: PositiveInt
    image_size: Pixels
    """Height and width in pixels."""
    resize: Pixels | None
    """Shorter side in pixels before the central crop; if None, `fit` brings an image to size."""
    mean: tuple[float, ...]
    """Mean of each channel, for pixel values in [0, 1]; the model subtracts it."""
    std: tuple[float, ...]
    """Standard deviation of each channel, for pixel values in [0, 1]; the model divides by it."""
    binary_convolutions: int
    """Number of convolutions whose weights and input are both one bit."""
    counted_bits: int
    """`pipeline.evaluation.cost.storage_bits`, less 32 for each scale that is folded."""
    files: dict[str, str]
    """SHA-256 of each file beside the manifest."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not isinstance(self.architecture.get("network"), str):
            raise ValueError("architecture names no network")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names one twice")
        if self.resize is not None and self.resize < self.image_size:
            raise ValueError(f"resize is {self.resize}, less than image_size, {self.image_size}")
        return self

    @property
    def name(self) -> str:
        """Name of the run that it came from, <network>-<row>-<seed>."""
        return f"{self.architecture['network']}-{self.row}-{self.seed}"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write export.json into `folder`, with the SHA-256 of its own content as its last entry."""
    content = manifest.model_dump(mode="json")
    write_json(folder / MANIFEST, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> Manifest:
    """Read export.json of `folder`, and check it and the files beside it against their checksums.

    Raises:
        UserError: it has another version, or it or a file beside it is missing, unreadable or
            changed.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):  # noqa: PTH113  Path.is_file raises where a name is too long
        raise UserError(
            f"{folder}: is no exported network, it has no {MANIFEST}; python -m stages.export "
            "makes one from a trained network"
        )
    content = read_json(path)
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise UserError(f"{path}: version is {version!r}, this code reads version {VERSION}")
    stated = content.pop("sha256", None)
    if stated != _digest(content):
        raise UserError(f"{path}: was changed: its content differs from its own checksum")
    try:
        manifest = Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from None
    for name in (MODEL, WEIGHTS, README):
        _check_file(folder / name, manifest.files.get(name))
    return manifest


def _check_file(path: Path, stated: str | None) -> None:
    with reading(path, "a part of the export"):
        found = sha256(path)
    if found != stated:
        raise UserError(f"{path}: was changed or cut short: it differs from its checksum")


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
