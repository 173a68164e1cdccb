"""The JSON files in `results/<table>/`, as far as reports read them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import to_json

from pipeline.artifacts import read_json
from pipeline.errors import UserError
from pipeline.names import FILE_NAME
from pipeline.params import Confidence, Resamples, UnitShare
from pipeline.reporting.statistics import ROUNDING

LARGEST = 10**18
"""The largest count allowed; a larger one may not fit a float."""
LARGEST_REAL = float(np.finfo(np.float32).max)
"""The largest real number allowed, as networks compute in float32; sums of larger ones overflow."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(gt=0, le=LARGEST)]
Real = Annotated[float, Field(ge=-LARGEST_REAL, le=LARGEST_REAL)]
Magnitude = Annotated[float, Field(ge=0, le=LARGEST_REAL)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_REAL)]
Network = Annotated[str, Field(pattern=r"^\w+$")]
FileName = Annotated[str, Field(pattern=f"^{FILE_NAME}$")]
"""Part of a path, so it must not lead out of its folder."""


def _shown(value: Any) -> Any:
    try:
        to_json(value)
    except ValueError:
        raise ValueError("is nested too deeply") from None
    return value


Shallow = AfterValidator(_shown)
"""The report writes it as JSON, for which some hundred levels are the limit."""


def _numbers(line: Any) -> Any:
    """A line of a matrix; text with spaces between numbers keeps a file of many classes short."""
    return [int(each) for each in line.split()] if isinstance(line, str) else line


class Metrics(BaseModel, strict=True):
    """`<cell>.json`: the results that are single numbers, for DVC."""

    row: str
    network: Network
    seed: Count
    top1: UnitShare
    top1_low: UnitShare
    top1_high: UnitShare
    top5: UnitShare
    loss: Magnitude
    last_epoch_top1: UnitShare
    validation_top1: UnitShare
    best_epoch: Count
    """0 for a pretrained network, which was not trained here."""
    kurtosis_distance: Magnitude | None
    teacher_distance_relative: Magnitude | None
    """Mean over the layers."""
    blank_map_share: UnitShare | None
    """Share of the 1-bit maps of all test images and layers; None where maps have 32 bits."""
    parameters: Size
    bits: Size
    binary_operations: Count
    real_operations: Count
    debug: bool

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if not self.top1_low - ROUNDING <= self.top1 <= self.top1_high + ROUNDING:
            raise ValueError(
                f"top1 is {self.top1}, outside its interval, {self.top1_low} to {self.top1_high}"
            )
        if self.top1 > self.top5 + ROUNDING:
            raise ValueError(f"top1 is {self.top1}, more than top5, {self.top5}")
        return self


class Layer(BaseModel):
    """Weight statistics of one regularized convolution."""

    name: str
    elements: Size
    binary: bool
    kurtosis: Positive
    target: Positive | None
    near_zero_share: UnitShare
    binarization_error: Real
    teacher_distance_relative: Magnitude | None
    """Mean squared difference of the sorted weights of this network and its reference, divided by
    the variance of the reference's weights."""
    dip_p_value: UnitShare
    valley_depth: UnitShare
    two_modes: bool


class LayerMaps(BaseModel):
    """1-bit maps of one layer, over all test images and channels."""

    maps: Size
    blank: Count


class Histogram(BaseModel):
    """Standardized weights of each layer, counted in the bins between `edges`."""

    edges: list[Real]
    counts: dict[str, list[Count]]


class Manifest(BaseModel, extra="allow"):
    """What the images are and where they came from; all of it is shown."""

    source: str
    origin: dict[str, Any]
    classes: list[str]
    channels: Count
    image_size: Count
    counts: dict[
        Literal["train", "validation", "test"], Annotated[list[Count], Field(min_length=1)]
    ]
    checksums: dict[str, str]

    @property
    def test_checksums(self) -> dict[str, str]:
        """Checksums of the test images and labels; if equal, images and order are the same."""
        return {name: digest for name, digest in self.checksums.items() if name.startswith("test")}


class Bits(BaseModel):
    """Whether weights and activations of a network are binary, from its architecture."""

    weights: bool
    activations: bool


class Schedule(BaseModel):
    """A section of the params that a network was trained with."""

    epochs: Size


class EvaluationParams(BaseModel):
    """The section `evaluation` of the params."""

    bootstrap_resamples: Resamples
    confidence: Confidence


class Machine(BaseModel):
    """What the provenance of a training says about the machine, if anything."""

    device: str | None = None
    cpu: str | None = None


class Timing(BaseModel):
    """What the provenance of a training says about its cost, if anything."""

    seconds: Magnitude
    images_per_second: Magnitude
    peak_memory_mib: Magnitude


class Tables(BaseModel):
    """SHA-256 of the tables that a training wrote, if its provenance has them."""

    curves: str | None = None
    kurtosis: str | None = None


class Provenance(BaseModel):
    """`provenance/<run>.json`: code, software, hardware and time of the two stages."""

    training: Annotated[dict[str, Any], Shallow]
    evaluation: Annotated[dict[str, Any], Shallow] = {}
    """Empty for the first of two steps, which is not evaluated."""


class Details(BaseModel):
    """`details/<cell>.json`: what was run, and the results that have more than one number."""

    losses: list[str]
    teacher: str | None
    reference: str | None = None
    """Cell with whose weights `teacher_distance_relative` compares."""
    distiller: str | None = None
    step: Literal["single", "two"] = "single"
    start: FileName | None = None
    """Cell of step one, if there were two steps."""
    pretrained: bool = False
    architecture: Annotated[dict[str, Any], Shallow]
    params: Annotated[dict[str, dict[str, Any]], Shallow]
    manifest: Annotated[Manifest, Shallow]
    classes: list[str]
    confusion: list[Annotated[list[Count], BeforeValidator(_numbers)]]
    """Test images by true (line) and predicted class."""
    layers: list[Layer]
    histogram: Histogram
    blank_maps: dict[str, LayerMaps]
    """Counts of the maps of each layer; empty where maps have 32 bits."""


Model = TypeVar("Model", bound=BaseModel)


def read_as(model: type[Model], path: Path) -> Model:
    """Read a JSON file as `model`.

    Raises:
        UserError: the file is missing, is not JSON or does not fit; its first problem is named.
    """
    return validated(model, read_json(path), path)


def validated(model: type[Model], content: Any, path: Path, place: str = "") -> Model:
    """The content of a file, or of `place` in it, as `model`.

    Raises:
        UserError: it does not fit; its first problem is named.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in [place, *first["loc"]] if part != "")
        if first["type"] == "missing":
            raise UserError(f"{path}: {key} is missing") from None
        if first["type"] == "value_error" and not key:  # two keys that contradict each other
            raise UserError(f"{path}: {first['ctx']['error']}") from None
        found = repr(first["input"])
        shown = found if len(found) <= 60 else f"{found[:60]}..."
        raise UserError(f"{path}: {key or 'content'} is {shown}: {first['msg']}") from None
