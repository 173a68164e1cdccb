"""Reading `results/<table>/`: every evaluated cell with its curves, details and feature maps."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from pipeline.artifacts import reading, sha256
from pipeline.errors import UserError
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.names import LOSSES
from pipeline.reporting.listing import evaluated
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import row_named
from pipeline.reporting.schema import (
    LARGEST_REAL,
    Bits,
    Details,
    EvaluationParams,
    Layer,
    Machine,
    Metrics,
    Provenance,
    Schedule,
    Tables,
    Timing,
    read_as,
    validated,
)
from pipeline.reporting.statistics import ROUNDING

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
        validated(Schedule, details.params.get(section), details_path, f"params.{section}")
    if metrics.best_epoch > len(curves):
        raise UserError(f"{path}: best_epoch is {metrics.best_epoch}, of {len(curves)} epochs")
    if metrics.binary_operations + metrics.real_operations == 0:
        raise UserError(f"{path}: binary_operations and real_operations are both 0")
    return cell


def _read_provenance(path: Path) -> Provenance:
    provenance = read_as(Provenance, path)
    validated(Machine, provenance.training, path, "training")
    if "seconds" in provenance.training:
        validated(Timing, provenance.training, path, "training")
    for table, checksum in validated(
        Tables, provenance.training.get("outputs", {}), path, "outputs"
    ):
        file = path.parents[1] / table / f"{path.stem}.csv"
        if checksum and file.is_file() and sha256(file) != checksum:
            raise UserError(
                f"{file}: is not the one that {path} describes; a training that did not end may "
                "have replaced it, run it again"
            )
    return provenance


def _check_details(path: Path, details: Details) -> None:
    validated(EvaluationParams, details.params.get("evaluation"), path, "params.evaluation")
    binarization = details.architecture.get("binarization")
    if binarization is not None:
        validated(Bits, binarization, path, "architecture.binarization")
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
