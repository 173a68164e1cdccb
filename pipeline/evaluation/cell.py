"""One cell of the table: a trained network's accuracy on test, its weights and its cost."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from scipy.stats import binomtest
from torch import nn

from pipeline.artifacts import check_writable, write_json, write_tensors
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.dataset import Images, open_prepared
from pipeline.data.loading.normalization import Normalization
from pipeline.data.prepared import Manifest
from pipeline.device import Execution, configure, select_device, within_memory
from pipeline.distributed import World
from pipeline.errors import UserError
from pipeline.evaluation.accuracy import Score, score
from pipeline.evaluation.blank_maps import BlankMaps, counted_blank_maps
from pipeline.evaluation.cost import Cost, cost
from pipeline.evaluation.deployed import deploy
from pipeline.evaluation.feature_maps import feature_maps
from pipeline.evaluation.outcomes import write_outcomes
from pipeline.evaluation.weights import (
    HISTOGRAM_EDGES,
    layer_statistics,
    standardized_histogram,
)
from pipeline.models.architecture import check_same
from pipeline.models.layers import regularized_convolutions
from pipeline.models.saved import Description, load_trained
from pipeline.params import Evaluation, Params
from pipeline.provenance import record
from pipeline.targets import layer_targets

BATCH_SIZE = 256
"""Test images in a batch, which affects only the rounding of the mean loss."""


@dataclass(frozen=True)
class EvaluationPlaces:
    """Where an evaluation reads and writes."""

    data: Path
    """Prepared data."""
    model: Path
    """Trained network to evaluate."""
    reference: Path
    """Trained network to compare the weight distribution of `model` with."""
    results: Path


def evaluate_cell(params: Params, places: EvaluationPlaces) -> dict[str, Any]:
    """Evaluate a trained network and write what was measured.

    This is the only place that looks at the test images. The best epoch, by validation, is
    measured in full; for the last epoch, only top-1 is. Nothing is written before everything is
    computed. The networks compute in float32, whatever they were trained in, and multiply by the
    scales of 1-bit weights after the sums, as `deploy` says: rounding can move a sum across the
    threshold of the sign in training, but not in a deployed 1-bit network.

    Args:
        params: Its sections evaluation and compute; what the network was trained with comes from
            its own description.
        places: What to read, and the folder to write to: <cell>.json, details/<cell>.json,
            outcomes/<cell>.safetensors, feature_maps/<cell>.safetensors and provenance/<cell>.json.

    Returns:
        The metrics, as in <cell>.json.

    Raises:
        UserError: a file is missing or damaged; network, data and reference do not fit together;
            weights have no kurtosis or the loss is not finite; or the device is out of memory.
    """
    model, description = load_trained(places.model, "best")
    if description.step == "one":
        raise UserError(f"{places.model}: is the first of two steps; the second is evaluated")
    identity = {
        "row": description.row,
        "network": description.architecture.network,
        "seed": description.seed,
    }
    cell = "{network}-{row}-{seed}".format(**identity)
    outputs = {
        "metrics": places.results / f"{cell}.json",
        "details": places.results / "details" / f"{cell}.json",
        "outcomes": places.results / "outcomes" / f"{cell}.safetensors",
    }
    maps = places.results / "feature_maps" / f"{cell}.safetensors"
    for path in (*outputs.values(), maps, places.results / "provenance" / f"{cell}.json"):
        check_writable(path.parent, path.name)
    with within_memory(
        f"{places.model}: {BATCH_SIZE} test images at a time",
        "free it of other processes, or compute on the CPU: BDBNN_DEVICE=cpu",
    ):
        measured = _measure(params, places, model, description)
    if not math.isfinite(measured.best.loss):
        raise UserError(
            f"{places.model}: the cross-entropy of its best epoch is {measured.best.loss}"
        )
    metrics = identity | _metrics(params.evaluation, description, measured)
    details = identity | _details(params, places, description, measured)
    write_tensors(maps, measured.feature_maps)
    write_outcomes(outputs["outcomes"], measured.best.outcomes)
    write_json(outputs["details"], details)
    write_json(outputs["metrics"], metrics)
    record(places.results, cell, "evaluation", measured.execution, outputs)
    return metrics


@dataclass(frozen=True)
class _Measured:
    """The results of an evaluation, and what they were measured on."""

    best: Score
    last: Score
    weights: dict[str, Any]
    """Statistics and histogram of each regularized layer, as JSON."""
    cost: Cost
    feature_maps: dict[str, torch.Tensor]
    blank_maps: BlankMaps
    manifest: Manifest
    execution: Execution


def _measure(
    params: Params, places: EvaluationPlaces, model: nn.Module, description: Description
) -> _Measured:
    architecture = description.architecture
    binary = architecture.binarization is not None
    execution = configure(params.compute, select_device(), binary=binary)
    execution = replace(execution, autocast=None)
    images = open_prepared(places.data)
    manifest = images.manifest
    check_same(f"model {places.model}", architecture, str(places.data), manifest.image_kind)
    reference = _load_reference(places, model, manifest)

    try:
        weights = _weights(model, description, reference)
    except UserError as error:
        raise UserError(f"model {places.model}, reference {places.reference}: {error}") from error
    costs = cost(model, (manifest.channels, manifest.image_size, manifest.image_size))
    maps = _feature_maps(model, images, params.evaluation.feature_map_image)
    batches = _batches(images, execution)
    last_model, _ = load_trained(places.model, "last")
    for each in (model, last_model):
        deploy(each)
    alone, classes = World(rank=0, size=1), architecture.classes
    with counted_blank_maps(model) as blank_maps:
        best = score(execution.place(model), batches, execution, alone, classes)
    last = score(execution.place(last_model), batches, execution, alone, classes)
    return _Measured(best, last, weights, costs, maps, blank_maps, manifest, execution)


def _metrics(
    evaluation: Evaluation, description: Description, measured: _Measured
) -> dict[str, Any]:
    """Metrics of one number each, for DVC; the interval of top-1 is Wilson's, over test images."""
    best = measured.best
    interval = binomtest(best.correct, best.images).proportion_ci(
        evaluation.confidence, method="wilson"
    )
    return {
        "top1": best.top1,
        "top1_low": float(interval.low),
        "top1_high": float(interval.high),
        "top5": best.top5,
        "loss": best.loss,
        "last_epoch_top1": measured.last.top1,
        "validation_top1": description.validation_top1,
        "best_epoch": description.best_epoch,
        **_means(measured.weights["layers"]),
        "blank_map_share": measured.blank_maps.share(),
        **asdict(measured.cost),
        "debug": description.debug,
    }


def _details(
    params: Params, places: EvaluationPlaces, description: Description, measured: _Measured
) -> dict[str, Any]:
    """What was run, and the results that have more than one number."""
    manifest = measured.manifest
    return {
        "losses": description.losses,
        "teacher": description.teacher,
        **description.model_dump(
            include={"step", "start", "distiller", "pretrained"}, exclude_defaults=True
        ),
        "reference": places.reference.name,
        "architecture": description.architecture.model_dump(mode="json"),
        "params": description.params | {"evaluation": params.evaluation.model_dump(mode="json")},
        **({"debug": True} if description.debug else {}),
        "manifest": manifest.model_dump(mode="json"),
        "classes": manifest.classes,
        "confusion": [" ".join(map(str, line)) for line in measured.best.confusion.tolist()],
        **measured.weights,
        "blank_maps": {name: asdict(layer) for name, layer in measured.blank_maps.layers().items()},
    }


def _load_reference(places: EvaluationPlaces, model: nn.Module, manifest: Manifest) -> nn.Module:
    """The reference; it may be another network if its layers pair by name and shape."""
    folder = places.reference
    reference, description = load_trained(folder, "best")
    found = description.architecture
    check_same(f"reference {folder}", found, str(places.data), manifest.image_kind)
    if _shapes(model) != _shapes(reference):
        raise UserError(
            f"reference {folder}: its layers do not pair with those of {places.model}: names or "
            "shapes differ"
        )
    return reference


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: layer.weight.shape for name, layer in regularized_convolutions(model).items()}


def _weights(model: nn.Module, description: Description, reference: nn.Module) -> dict[str, Any]:
    """Statistics and histogram of each regularized layer, as JSON."""
    layers = regularized_convolutions(model)
    targets = {}
    if "kurtosis" in description.losses:
        target = description.params["kurtosis"]["target"]
        targets = layer_targets(target, list(layers), description.losses)
    statistics = layer_statistics(model, targets, reference)
    counts = {name: standardized_histogram(layer.weight) for name, layer in layers.items()}
    return {
        "layers": [asdict(layer) for layer in statistics],
        "histogram": {"edges": HISTOGRAM_EDGES, "counts": counts},
    }


def _batches(images: Images, execution: Execution) -> Batches:
    return images.batches(
        "test",
        batch_size=BATCH_SIZE,
        augmentation=None,
        seed=0,
        execution=execution,
        world=World(rank=0, size=1),
    )


def _feature_maps(model: nn.Module, images: Images, index: int) -> dict[str, torch.Tensor]:
    count = sum(images.manifest.counts["test"])
    if index >= count:
        raise UserError(
            f"evaluation.feature_map_image is {index}: there are {count} test images, from 0 on"
        )
    image = torch.tensor(images.pixels("test", index))
    mean, std = images.manifest.mean, images.manifest.std
    normalize = Normalization(mean, std, (image.shape[1], image.shape[2]), torch.device("cpu"))
    return {"image": image, **feature_maps(model, normalize(image[None]))}


def _means(layers: list[dict[str, Any]]) -> dict[str, float | None]:
    """Means over the layers, each counting once; None where no layer has the statistic."""
    columns = {
        "kurtosis": [layer["kurtosis"] for layer in layers],
        "kurtosis_distance": [
            abs(layer["kurtosis"] - layer["target"])
            for layer in layers
            if layer["target"] is not None
        ],
        "near_zero_share": [layer["near_zero_share"] for layer in layers],
        "binarization_error": [layer["binarization_error"] for layer in layers],
        "teacher_distance": [layer["teacher_distance"] for layer in layers],
        "teacher_distance_relative": [layer["teacher_distance_relative"] for layer in layers],
        "two_modes_share": [layer["two_modes"] for layer in layers],
    }
    return {name: fmean(values) if values else None for name, values in columns.items()}
