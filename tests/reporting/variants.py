"""A small study as the stages write it: a table and variants of it, from random weights."""

import copy
from pathlib import Path

from pipeline.variants import parse_setting
from tests.reporting.synthetic import PARAMS, edit_json, write_results

ROWS = (
    "full-precision",
    "fine-tuned",
    "kurtosis",
    "binary",
    "binary-mimicking",
    "complete-untuned",
    "complete",
)
VARIANTS = {
    "kurtosis.target=1.2": ("kurtosis", "complete"),
    "kurtosis.target=2.2": ("kurtosis", "complete"),
    "kurtosis.weight=0.1": ("kurtosis", "complete"),
    "mimicking.weight=2000.0": ("complete",),
    "mimicking.form=released": ("complete",),
    "binarization.sign_gradient=clipped": ("binary", "complete"),
    "network.full_precision_block=bireal": ("full-precision", "kurtosis", "complete"),
    "network.full_precision_activation=hardtanh": ("full-precision", "kurtosis", "complete"),
}
"""Each with the rows that are trained for it."""


def write_study(folder: Path, seeds: tuple[int, ...] = (1, 2, 3)) -> tuple[Path, Path]:
    """Write a table, with a seed more than its variants have, and the variants; both folders."""
    table, variants = folder / "study", folder / "study-variants"
    write_results(table, rows=ROWS, seeds=[*seeds, seeds[-1] + 1], layers=2, epochs=2)
    for name, rows in VARIANTS.items():
        write_variant_results(variants / name, rows, seeds)
    return table, variants


def write_variant_results(folder: Path, rows: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Write the results of one variant, with its parameter in what was run."""
    write_results(folder, rows=rows, seeds=seeds, layers=2, epochs=2)
    setting = parse_setting(folder.name)
    params = copy.deepcopy(PARAMS)
    params[setting.section][setting.name] = setting.value
    for path in (folder / "details").glob("*.json"):
        edit_json(path, params=params)
