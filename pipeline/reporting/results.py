"""Reading `results/<data set>/`: every evaluated cell with its curves, details and feature maps."""

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import to_json
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from pipeline.artifacts import read_json, reading, sha256
from pipeline.errors import UserError
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.names import FILE_NAME, LOSSES, NETWORKS
from pipeline.params import Confidence, Resamples, UnitShare
from pipeline.reporting.listing import evaluated
from pipeline.reporting.rows import ROWS, Row, row_named
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


CURVES = (
    "epoch",
    "learning_rate",
    "cross_entropy",
    "kurtosis",
    "distillation",
    "mimicking",
    "train_top1",
    "validation_top1",
    "sign_flips",
)
SHARES = ("train_top1", "validation_top1", "sign_flips")
NEVER_NEGATIVE = ("learning_rate", "cross_entropy", "kurtosis", "distillation")
"""The form `released` of WDM is no distance and may be."""
LEAST_EDGES = 10
"""Edges of nine bins, which a figure joins by threes, without the first and the last."""
NUMBERS = "iuf"
"""Kinds of NumPy dtypes."""
ALWAYS_THERE = ("epoch", "layer", "validation_top1")
LAYER_KURTOSIS = ("epoch", "layer", "kurtosis", "target")


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


@dataclass(frozen=True)
class Cell:
    """One network, row and seed."""

    name: str
    metrics: Metrics
    details: Details
    curves: pd.DataFrame
    step_one: pd.DataFrame | None
    """Curves of the first of two steps."""
    kurtosis: pd.DataFrame
    """Kurtosis of each layer over the epochs of both steps; those of step one may be missing."""
    provenance: Provenance
    training: tuple[dict[str, Any], ...]
    """Provenance of its training, one for each step."""
    outcomes: np.ndarray
    """Whether each test image was classified correctly, bool (images,)."""
    feature_maps: dict[str, np.ndarray]

    @property
    def all_curves(self) -> pd.DataFrame:
        """Curves of both steps, if there were two, with the epochs counted on."""
        if self.step_one is None:
            return self.curves
        second = self.curves.assign(epoch=self.curves["epoch"] + len(self.step_one))
        return pd.concat([self.step_one, second], ignore_index=True)

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of the weights and of the activations in the convolutions that may be binary."""
        binarization = self.details.architecture.get("binarization")
        if not binarization:
            return 32, 32
        return (1 if binarization["weights"] else 32, 1 if binarization["activations"] else 32)

    @property
    def schedules(self) -> tuple[str, ...]:
        """Sections of the params whose schedules trained it, or what it is fine-tuned from."""
        if not self.row.binary:
            return ("teacher",)
        return ("step_one", "step_two") if self.details.step == "two" else ("student",)

    @property
    def row(self) -> Row:
        """The row of the table it belongs to."""
        return row_named(self.metrics.row)


@dataclass(frozen=True)
class Results:
    """The evaluated cells of one data set, by network, row and seed."""

    dataset: str
    cells: tuple[Cell, ...]

    @property
    def networks(self) -> list[str]:
        """Networks with at least one evaluated cell; those of the paper first."""
        found = {cell.metrics.network for cell in self.cells}
        known = [network for network in NETWORKS if network in found]
        return known + sorted(found - set(known))

    def rows(self, network: str) -> Iterator[tuple[Row, list[Cell]]]:
        """Every row of the table with its cells by seed; no cells where it was not run."""
        for row in ROWS:
            yield row, self.seeds(network, row.name)

    def seeds(self, network: str, row: str) -> list[Cell]:
        """The cells of one row, by seed."""
        cells = (c for c in self.cells if (c.metrics.network, c.metrics.row) == (network, row))
        return sorted(cells, key=lambda cell: cell.metrics.seed)

    def nearest(self, network: str, row: str) -> list[Cell]:
        """The cells of one row, by seed; if the network has none, those of its teacher.

        This finds the 32-bit rows where teacher and student are different networks.
        """
        students = [cell for cell in self.cells if cell.metrics.network == network]
        teachers = sorted({cell.details.teacher or "" for cell in students})
        networks = [network, *(name.partition("-")[0] for name in teachers)]
        found = (self.seeds(each, row) for each in networks)
        return next((cells for cells in found if cells), [])

    def run_rows(self, network: str) -> list[tuple[Row, list[Cell]]]:
        """The rows that were run, with their cells by seed."""
        return [(row, cells) for row, cells in self.rows(network) if cells]

    @property
    def published_dataset(self) -> str:
        """Name of the data in published.csv: cifar10 for the tables cifar10 and cifar10-full."""
        return self.dataset.partition("-")[0]

    @property
    def evaluation(self) -> dict[str, Any]:
        """Parameters of the evaluation, those of the first cell."""
        return self.cells[0].details.params["evaluation"]


def load_results(folder: Path) -> Results:
    """Read every cell of `folder` that was evaluated and still belongs to its table.

    Raises:
        UserError: the folder is missing or holds no cell; a file of a cell is missing, or is not
            what its stage writes; cells were evaluated on different test images; or networks
            of one name have different layers.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 -- Path's fails where a name is too long
        raise UserError(f"{folder}: no such folder")
    cells = tuple(_load_cell(path) for path in evaluated(folder))
    if not cells:
        raise UserError(f"{folder}: holds no results (no <network>-<row>-<seed>.json)")
    _check_same_test(folder, cells)
    _check_same_layers(folder, cells)
    return Results(folder.resolve().name, cells)


def _check_same_test(folder: Path, cells: Sequence[Cell]) -> None:
    """Refuse different test images, because outcomes are paired image by image."""
    first = cells[0]
    for cell in cells[1:]:
        if _test(cell) != _test(first):
            raise UserError(
                f"{folder}: {first.name} and {cell.name} were evaluated on different test images "
                "(checksums of their manifests, number of outcomes), evaluate all runs on the same"
            )


def _test(cell: Cell) -> tuple[dict[str, str], int]:
    return cell.details.manifest.test_checksums, len(cell.outcomes)


def _check_same_layers(folder: Path, cells: Sequence[Cell]) -> None:
    """Refuse other layers in a network, or layers that are binary at one seed of a row only."""
    first: dict[tuple[str, ...], tuple[str, list[Any]]] = {}
    for cell in cells:
        network, row, layers = cell.metrics.network, cell.metrics.row, cell.details.layers
        for group, facts in (
            ((network,), [(layer.name, layer.elements) for layer in layers]),
            ((network, row), [layer.binary for layer in layers]),
        ):
            other, expected = first.setdefault(group, (cell.name, facts))
            if facts != expected:
                raise UserError(
                    f"{folder / 'details' / cell.name}.json: layers are not those of {other}: "
                    "name, elements and binary must be the same"
                )


def _load_cell(path: Path) -> Cell:
    folder, name = path.parent, path.stem
    metrics = read_as(Metrics, path)
    try:
        row_named(metrics.row)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    expected = f"{metrics.network}-{metrics.row}-{metrics.seed}"
    if name != expected:
        raise UserError(f"{path}: holds the results of {expected}")
    details_path = folder / "details" / path.name
    details = read_as(Details, details_path)
    _check_details(details_path, details)
    outcomes_path = folder / "outcomes" / f"{name}.safetensors"
    outcomes = read_outcomes(outcomes_path)
    images = sum(map(sum, details.confusion))
    if len(outcomes) == 0 or images != len(outcomes):
        raise UserError(
            f"{details_path}: confusion counts {images} images, {outcomes_path} has {len(outcomes)}"
        )
    right = int(outcomes.sum())
    if abs(right / len(outcomes) - metrics.top1) > ROUNDING:
        raise UserError(
            f"{outcomes_path}: {right} of {len(outcomes)} images are right, which is not the top1 "
            f"of {path}, {metrics.top1}"
        )
    if (diagonal := sum(line[place] for place, line in enumerate(details.confusion))) != right:
        raise UserError(
            f"{details_path}: the diagonal of confusion counts {diagonal} images, {outcomes_path} "
            f"has {right} right"
        )
    curves = _read_curves(folder / "curves" / f"{name}.csv")
    provenance = _read_provenance(folder / "provenance" / path.name)
    training = [provenance.training]
    step_one = None
    kurtosis = _read_kurtosis(folder / "kurtosis" / f"{name}.csv", details.layers)
    if details.start:
        step_one = _read_curves(folder / "curves" / f"{details.start}.csv")
        first = _read_provenance(folder / "provenance" / f"{details.start}.json")
        training.insert(0, first.training)
        kurtosis["epoch"] += len(step_one)
        before = folder / "kurtosis" / f"{details.start}.csv"
        if before.exists():
            kurtosis = pd.concat([_read_kurtosis(before, details.layers), kurtosis])
    cell = Cell(
        name=name,
        metrics=metrics,
        details=details,
        curves=curves,
        step_one=step_one,
        kurtosis=kurtosis,
        provenance=provenance,
        training=tuple(training),
        outcomes=outcomes,
        feature_maps=_read_maps(folder / "feature_maps" / f"{name}.safetensors"),
    )
    for section in cell.schedules:
        _as(Schedule, details.params.get(section), details_path, f"params.{section}")
    if metrics.best_epoch > len(curves):
        raise UserError(f"{path}: best_epoch is {metrics.best_epoch}, of {len(curves)} epochs")
    if metrics.binary_operations + metrics.real_operations == 0:
        raise UserError(f"{path}: binary_operations and real_operations are both 0")
    return cell


Model = TypeVar("Model", bound=BaseModel)


def read_as(model: type[Model], path: Path) -> Model:
    """Read a JSON file as `model`.

    Raises:
        UserError: the file is missing, is not JSON or does not fit; its first problem is named.
    """
    return _as(model, read_json(path), path)


def _as(model: type[Model], content: Any, path: Path, place: str = "") -> Model:
    """The content of a file, or of `place` in it, as `model`."""
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


def _read_provenance(path: Path) -> Provenance:
    provenance = read_as(Provenance, path)
    _as(Machine, provenance.training, path, "training")
    if "seconds" in provenance.training:
        _as(Timing, provenance.training, path, "training")
    for table, checksum in _as(Tables, provenance.training.get("outputs", {}), path, "outputs"):
        file = path.parents[1] / table / f"{path.stem}.csv"
        if checksum and file.is_file() and sha256(file) != checksum:
            raise UserError(
                f"{file}: is not the one that {path} describes; a training that did not end may "
                "have replaced it, run it again"
            )
    return provenance


def _check_details(path: Path, details: Details) -> None:
    _as(EvaluationParams, details.params.get("evaluation"), path, "params.evaluation")
    binarization = details.architecture.get("binarization")
    if binarization is not None:
        _as(Bits, binarization, path, "architecture.binarization")
    unknown = sorted({*details.losses} - {*LOSSES})
    if unknown:
        raise UserError(f"{path}: losses names {unknown[0]!r}: allowed are {', '.join(LOSSES)}")
    classes = len(details.classes)
    if len({*details.classes}) < classes:
        raise UserError(f"{path}: classes must not name one twice")
    if details.manifest.classes != details.classes:
        raise UserError(f"{path}: manifest.classes are not classes")
    if [len(line) for line in details.confusion] != [classes] * classes:
        raise UserError(f"{path}: confusion must be {classes} x {classes}, one line per class")
    names = [layer.name for layer in details.layers]
    if not names or len({*names}) < len(names):
        raise UserError(f"{path}: layers must name at least one layer, and none twice")
    edges = details.histogram.edges
    if len(edges) < LEAST_EDGES or edges != sorted({*edges}):
        raise UserError(f"{path}: histogram.edges must be at least {LEAST_EDGES} numbers that rise")
    bins = len(edges) - 1
    for layer in details.layers:
        counts = details.histogram.counts.get(layer.name, [])
        if len(counts) != bins:
            raise UserError(
                f"{path}: histogram.counts.{layer.name} has {len(counts)} bins, its edges make "
                f"{bins}"
            )
        if sum(counts) != layer.elements:
            raise UserError(
                f"{path}: histogram.counts.{layer.name} counts {sum(counts)} weights, the layer "
                f"has {layer.elements}"
            )


def _read_curves(path: Path) -> pd.DataFrame:
    curves = _read_table(path, CURVES)
    _check_epochs(path, curves["epoch"])
    for name in SHARES + NEVER_NEGATIVE:
        highest = 1 if name in SHARES else LARGEST_REAL
        wrong = curves.index[(curves[name] < 0) | (curves[name] > highest)]
        if len(wrong):
            raise UserError(
                f"{path}: {name} is {curves[name][wrong[0]]} in epoch {curves['epoch'][wrong[0]]}, "
                f"allowed are numbers from 0 to {highest:g}"
            )
    return curves


def _read_kurtosis(path: Path, layers: Sequence[Layer]) -> pd.DataFrame:
    kurtosis = _read_table(path, LAYER_KURTOSIS)
    wrong = {*kurtosis["layer"]} ^ {layer.name for layer in layers}
    if wrong:
        raise UserError(f"{path}: only this file or only the details have layer {min(wrong)}")
    for _, epochs in kurtosis.groupby("layer")["epoch"]:
        _check_epochs(path, epochs)
    for column in ("kurtosis", "target"):
        if (kurtosis[column] <= 0).any():
            raise UserError(f"{path}: column {column!r} holds a number that is not above 0")
    return kurtosis


def _check_epochs(path: Path, epochs: pd.Series) -> None:
    first = epochs.iloc[0]
    if first not in (0, 1) or [*epochs] != [*range(int(first), int(first) + len(epochs))]:
        raise UserError(f"{path}: column 'epoch' must count 0, 1, 2, ... or 1, 2, 3, ...")


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV file, where every column but `layer` holds numbers or empty cells."""
    try:
        table = pd.read_csv(io.BytesIO(_read_bytes(path)), dtype={"layer": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid CSV ({' '.join(str(error).split())})") from error
    for column in columns:
        if column not in table:
            raise UserError(f"{path}: has no column {column!r}")
        if table.empty:
            raise UserError(f"{path}: has no line below its heading")
        if column != "layer" and table[column].dtype.kind not in NUMBERS:
            raise UserError(f"{path}: column {column!r} must hold numbers")
        if column != "layer" and (table[column].astype(float).abs() > LARGEST_REAL).any():
            raise UserError(f"{path}: column {column!r} holds a number that is too large")
        if column in ALWAYS_THERE and table[column].isna().any():
            raise UserError(f"{path}: column {column!r} has an empty cell")
    return table


def _read_maps(path: Path) -> dict[str, np.ndarray]:
    content = _read_bytes(path)
    try:
        tensors = load_tensors(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that NumPy lacks
        raise UserError(f"{path}: is not a readable safetensors file ({error})") from error
    for name in ("image", "maps"):
        if name not in tensors or tensors[name].ndim != 3 or tensors[name].size == 0:
            raise UserError(f"{path}: must hold {name!r} of shape (channels, height, width)")
    if len(tensors["image"]) not in (1, 3):
        raise UserError(f"{path}: 'image' must have 1 or 3 channels, has {len(tensors['image'])}")
    if "binary_maps" in tensors and tensors["binary_maps"].shape != tensors["maps"].shape:
        raise UserError(f"{path}: 'binary_maps' and 'maps' must have the same shape")
    for name, tensor in tensors.items():
        if tensor.dtype.kind not in NUMBERS:
            raise UserError(f"{path}: {name!r} must hold numbers")
        if not (np.abs(tensor.astype(float)) <= LARGEST_REAL).all():
            raise UserError(f"{path}: {name!r} holds numbers that are not finite")
    return tensors


def _read_bytes(path: Path) -> bytes:
    with reading(path, "a file"):
        return path.read_bytes()
