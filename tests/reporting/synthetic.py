"""Results as the stages write them, computed from random weights: input of the report's tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from pipeline.evaluation.outcomes import write_outcomes
from pipeline.params import Params
from tests.conftest import ROOT, read_yaml

PARAMS = Params.model_validate(read_yaml(ROOT / "params.yaml")).recorded()
PARAMS["kurtosis"]["target"] = 1.8
PARAMS["teacher"]["epochs"] = 12
PARAMS["finetune"]["epochs"] = 6
PARAMS["student"]["epochs"] = 14
CLASSES = [str(digit) for digit in range(10)]
TEST_IMAGES = 360
MAPS = 5760
"""16 channels for each test image."""
TOP1 = {
    "full-precision": 0.985,
    "fine-tuned": 0.985,
    "kurtosis": 0.980,
    "binary": 0.950,
    "binary-kurtosis": 0.955,
    "binary-distillation": 0.960,
    "binary-mimicking": 0.962,
    "complete-untuned": 0.965,
    "complete": 0.968,
}
LOSSES = {
    "full-precision": ["cross_entropy"],
    "fine-tuned": ["cross_entropy"],
    "kurtosis": ["cross_entropy", "kurtosis"],
    "binary": ["cross_entropy"],
    "binary-kurtosis": ["cross_entropy", "kurtosis"],
    "binary-distillation": ["cross_entropy", "distillation"],
    "binary-mimicking": ["cross_entropy", "distillation", "mimicking"],
    "complete-untuned": ["cross_entropy", "distillation", "mimicking", "kurtosis"],
    "complete": ["cross_entropy", "distillation", "mimicking", "kurtosis"],
}
PROVENANCE = {
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "clean": True,
    "python": "3.11.2",
    "packages": {"torch": "2.15.0", "numpy": "2.4.6"},
    "cpu": "A Processor",
    "threads": 2,
    "device": "cpu",
    "deterministic": True,
    "seconds": 1800.0,
    "images_per_second": 500.0,
    "peak_memory_mib": 812.3,
}
MANIFEST = {
    "source": "digits",
    "origin": {"package": "scikit-learn", "version": "1.9.1"},
    "classes": CLASSES,
    "channels": 3,
    "image_size": 16,
    "counts": {"train": [122] * 10, "validation": [22] * 10, "test": [36] * 10},
    "mean": [0.3, 0.3, 0.3],
    "std": [0.37, 0.37, 0.37],
    "checksums": {"test_images.npy": "cd" * 32, "train_images.npy": "ab" * 32},
}


def write_results(
    folder: Path,
    *,
    networks: Sequence[str] = ("resnet20",),
    rows: Sequence[str] = tuple(TOP1),
    seeds: Sequence[int] = (1, 2),
    layers: int = 3,
    epochs: int = 4,
) -> Path:
    """Write every cell of `networks` x `rows` x `seeds` under `folder`, and return `folder`."""
    for network in networks:
        for seed in seeds:
            for row in rows:
                _write_cell(folder, network, row, seed, layers, epochs)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Replace top-level keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_right(folder: Path, cell: str, right: int, *, last: bool = False) -> None:
    """Let a cell have the first `right` of the test images right, or the last, and no others.

    The others are taken for the next class.
    """
    correct = np.arange(TEST_IMAGES) < right
    if last:
        correct = correct[::-1].copy()
    true = np.arange(TEST_IMAGES) % len(CLASSES)
    predicted = np.where(correct, true, (true + 1) % len(CLASSES))
    _set_predictions(folder, cell, _confusion(true, predicted), correct)


def set_confusion(folder: Path, cell: str, confusion: np.ndarray) -> None:
    """Let a cell have this confusion matrix of the test images, the first of which are right."""
    correct = np.arange(TEST_IMAGES) < np.trace(confusion)
    _set_predictions(folder, cell, confusion, correct)


def _set_predictions(folder: Path, cell: str, confusion: np.ndarray, correct: np.ndarray) -> None:
    top1 = float(correct.mean())
    write_outcomes(folder / "outcomes" / f"{cell}.safetensors", correct)
    edit_json(folder / "details" / f"{cell}.json", confusion=_lines(confusion))
    edit_json(folder / f"{cell}.json", **_interval(top1))


def _write_cell(folder: Path, network: str, row: str, seed: int, layers: int, epochs: int) -> None:
    cell = f"{network}-{row}-{seed}"
    random = np.random.default_rng([seed, *cell.encode()])
    for part in ("curves", "kurtosis", "details", "feature_maps", "provenance"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    weights = {name: _weights(random, row, 4000) for name in _layer_names(layers)}
    statistics = [_statistics(name, row, values) for name, values in weights.items()]
    true, predicted = _predictions(random, TOP1[row])
    confusion = _confusion(true, predicted)
    top1 = float((predicted == true).mean())
    write_outcomes(folder / "outcomes" / f"{cell}.safetensors", predicted == true)
    _write_json(folder / f"{cell}.json", _metrics(row, network, seed, top1, epochs, statistics))
    _write_json(
        folder / "details" / f"{cell}.json",
        _details(row, network, seed, confusion, weights, statistics),
    )
    _write_json(
        folder / "provenance" / f"{cell}.json", {"training": PROVENANCE, "evaluation": PROVENANCE}
    )
    _curves(random, row, epochs, top1).to_csv(folder / "curves" / f"{cell}.csv", index=False)
    _kurtosis(row, epochs, statistics).to_csv(folder / "kurtosis" / f"{cell}.csv", index=False)
    save_file(_maps(random, row), folder / "feature_maps" / f"{cell}.safetensors")


def _layer_names(count: int) -> list[str]:
    return [
        f"layer{stage}.{block}.conv{conv}"
        for stage in (1, 2, 3)
        for block in (0, 1, 2)
        for conv in (1, 2)
    ][:count]


def _weights(random: np.random.Generator, row: str, count: int) -> np.ndarray:
    """Two modes where the kurtosis loss is at work, else a bell."""
    bell = random.standard_normal(count)
    if "kurtosis" not in LOSSES[row]:
        return bell * random.uniform(0.5, 1.5, count)
    return np.where(random.random(count) < 0.5, 1, -1) + 0.45 * bell


def _statistics(name: str, row: str, weight: np.ndarray) -> dict[str, Any]:
    magnitude = np.abs(weight)
    scale = magnitude.mean()
    return {
        "name": name,
        "elements": weight.size,
        "binary": row.startswith(("binary", "complete")),
        "kurtosis": float(np.mean(((weight - weight.mean()) / weight.std(ddof=1)) ** 4)),
        "target": PARAMS["kurtosis"]["target"] if "kurtosis" in LOSSES[row] else None,
        "near_zero_share": float((magnitude < 0.1 * scale).mean()),
        "binarization_error": float(((magnitude - scale) ** 2).sum() / (weight**2).sum()),
        "teacher_distance_relative": 0.0 if row == "full-precision" else _distance(row, scale),
        "dip_p_value": 0.001 if "kurtosis" in LOSSES[row] else 0.9,
        "valley_depth": 0.6 if "kurtosis" in LOSSES[row] else 0.0,
        "two_modes": "kurtosis" in LOSSES[row],
    }


def _distance(row: str, scale: float) -> float:
    return scale / (1000 if "mimicking" in LOSSES[row] else 100)


def _predictions(random: np.random.Generator, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    classes = len(CLASSES)
    true = np.arange(TEST_IMAGES) % classes
    other = (true + random.integers(1, classes, TEST_IMAGES)) % classes
    return true, np.where(random.random(TEST_IMAGES) < accuracy, true, other)


def _confusion(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    np.add.at(counts, (true, predicted), 1)
    return counts


def _lines(confusion: np.ndarray) -> list[str]:
    return [" ".join(map(str, line)) for line in confusion.tolist()]


def _interval(top1: float) -> dict[str, float]:
    return {"top1": top1, "top1_low": max(top1 - 0.02, 0), "top1_high": min(top1 + 0.02, 1)}


def _metrics(
    row: str, network: str, seed: int, top1: float, epochs: int, statistics: list[dict[str, Any]]
) -> dict[str, Any]:
    distances = [abs(s["kurtosis"] - s["target"]) for s in statistics if s["target"] is not None]
    binary = row.startswith(("binary", "complete"))
    return {
        "row": row,
        "network": network,
        "seed": seed,
        **_interval(top1),
        "top5": 1.0,
        "loss": 1 - top1,
        "last_epoch_top1": top1,
        "validation_top1": top1,
        "best_epoch": epochs,
        "kurtosis": float(np.mean([s["kurtosis"] for s in statistics])),
        "kurtosis_distance": float(np.mean(distances)) if distances else None,
        "near_zero_share": 0.05,
        "binarization_error": 0.3,
        "teacher_distance_relative": float(
            np.mean([s["teacher_distance_relative"] for s in statistics])
        ),
        "blank_map_share": _blank(row, seed) / MAPS if binary else None,
        "parameters": 272_474,
        "bits": 458_016 if binary else 8_719_168,
        "binary_operations": 10_027_008 if binary else 0,
        "real_operations": 111_232 if binary else 10_138_240,
        "debug": False,
    }


def _details(
    row: str,
    network: str,
    seed: int,
    confusion: np.ndarray,
    weights: Mapping[str, np.ndarray],
    statistics: list[dict[str, Any]],
) -> dict[str, Any]:
    binary = row.startswith(("binary", "complete"))
    edges = np.linspace(-3, 3, 61).round(1)
    teacher = "kurtosis" if row == "complete" else "fine-tuned"
    return {
        "row": row,
        "network": network,
        "seed": seed,
        "losses": LOSSES[row],
        "teacher": f"{network}-{teacher}-{seed}" if binary else None,
        "architecture": {
            "network": network,
            "binarization": PARAMS["binarization"] if binary else None,
        },
        "params": PARAMS,
        "manifest": MANIFEST,
        "classes": CLASSES,
        "confusion": _lines(confusion),
        "layers": statistics,
        "histogram": {
            "edges": edges.tolist(),
            "counts": {
                name: np.histogram(((w - w.mean()) / w.std(ddof=1)).clip(-3, 3), edges)[0].tolist()
                for name, w in weights.items()
            },
        },
        "blank_maps": (
            {"layer1.0.conv1": {"maps": MAPS, "blank": _blank(row, seed), "pixels": 256}}
            if binary
            else {}
        ),
    }


def _blank(row: str, seed: int) -> int:
    """Blank maps of a binary row: fewer under the kurtosis loss."""
    return (100 if "kurtosis" in LOSSES[row] else 300) + 10 * seed


def _curves(random: np.random.Generator, row: str, epochs: int, top1: float) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    progress = 1 - np.exp(-3 * epoch / epochs)
    noise = random.normal(0, 0.01, epochs)
    table = pd.DataFrame({"epoch": epoch})
    table["learning_rate"] = 0.05 * (1 + np.cos(np.pi * (epoch - 1) / epochs))
    table[["ede_t", "ede_k"]] = np.nan
    table["loss"] = 2.3 * (1 - progress) + 0.02
    for name in ("cross_entropy", "kurtosis", "distillation", "mimicking"):
        decay = 2.3 * (1 - progress) + 0.02 * np.exp(noise)
        table[name] = decay if name in LOSSES[row] else np.nan
    table["train_top1"] = (progress + noise).clip(0, 1)
    table["validation_loss"] = 1 - progress
    table["validation_top1"] = (top1 * progress + noise).clip(0, 1)
    binary = row.startswith(("binary", "complete"))
    table["sign_flips"] = 0.2 * (1 - progress) if binary else np.nan
    return table


def _kurtosis(row: str, epochs: int, statistics: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "epoch": epoch,
                "layer": s["name"],
                "kurtosis": s["kurtosis"] + (3 - s["kurtosis"]) * (1 - epoch / epochs),
                "target": s["target"],
            }
            for epoch in range(epochs + 1)
            for s in statistics
        ]
    )


def _maps(random: np.random.Generator, row: str) -> dict[str, np.ndarray]:
    image = random.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    maps = random.normal(0, 0.4, (16, 16, 16)).cumsum(axis=1).clip(-1, 1).astype(np.float32)
    tensors = {"image": image, "maps": maps}
    if row.startswith(("binary", "complete")):
        maps[3] = 0.5
        tensors["binary_maps"] = np.where(maps >= 0, 1, -1).astype(np.int8)
    return tensors


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
