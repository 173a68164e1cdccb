"""The tables of measured, compared and published figures, each as numbers and as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.reporting.layers import layer_means
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import COMPARISONS, Comparison, published_name, row_named
from pipeline.reporting.sources import PublishedFigure
from pipeline.reporting.statistics import Summary, summarize, verdict

NONE = "-"
PUBLISHED_FILE = "reports/published.csv"
TEACHERS, STUDENTS = ("full-precision", "kurtosis"), ("binary", "complete")
LAYER_COLUMNS = (
    ("Near zero, %", "near_zero_share", 100, ".2f", TEACHERS + STUDENTS),
    ("Binarization error", "binarization_error", 1, ".3f", TEACHERS + STUDENTS),
    ("Teacher distance", "teacher_distance", 1, ".1e", STUDENTS),
)
"""Heading, statistic, factor, format, rows shown."""
BINARY_PER_REAL = 64
"""Binary operations counted as one real one, as Bi-Real Net does [field]."""


@dataclass(frozen=True)
class Table:
    """One table: `data` as numbers, for CSV; `shown` as text, for people.

    The columns of `shown` may have two levels, a group and its column.
    """

    data: pd.DataFrame
    shown: pd.DataFrame


def measured(results: Results, network: str) -> Table:
    """Every row of the table: mean and spread of test top-1 and top-5 over the seeds, in percent.

    Rows that were not run stay, with "not run".
    """
    data, shown = [], []
    for row, cells in results.rows(network):
        top1 = summarize([100 * cell.metrics.top1 for cell in cells])
        last = summarize([100 * cell.metrics.last_epoch_top1 for cell in cells])
        top5 = summarize([100 * cell.metrics.top5 for cell in cells])
        weights, activations = bits(cells[0]) if cells else (None, None)
        data.append(
            {
                "row": row.name,
                "weight_bits": weights,
                "activation_bits": activations,
                "seeds": len(cells),
                **_numbers("top1", top1),
                **_numbers("last_epoch_top1", last),
                **_numbers("top5", top5),
            }
        )
        shown.append(
            {
                "Row": row.label,
                "Bits W/A": f"{weights}/{activations}" if cells else NONE,
                "Seeds": str(len(cells)) if cells else NONE,
                "Top-1, %": spread(top1),
                "95 % interval": interval(top1),
                "Top-1 of last epoch, %": spread(last) if cells else NONE,
                "Top-5, %": spread(top5) if cells else NONE,
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def runs(results: Results, network: str) -> Table:
    """Every run by itself: test figures with their bootstrap interval over the test images."""
    data, shown = [], []
    for row, cells in results.rows(network):
        for cell in cells:
            metrics = cell.metrics
            low, high = 100 * metrics.top1_low, 100 * metrics.top1_high
            data.append(
                {
                    "row": row.name,
                    "seed": metrics.seed,
                    "top1": 100 * metrics.top1,
                    "top1_low": low,
                    "top1_high": high,
                    "last_epoch_top1": 100 * metrics.last_epoch_top1,
                    "top5": 100 * metrics.top5,
                    "loss": metrics.loss,
                    "validation_top1": 100 * metrics.validation_top1,
                    "best_epoch": metrics.best_epoch,
                }
            )
            shown.append(
                {
                    "Row": row.label,
                    "Seed": str(metrics.seed),
                    "Top-1, %": f"{100 * metrics.top1:.2f}",
                    "Top-5, %": f"{100 * metrics.top5:.2f}",
                    "Bootstrap interval": f"{low:.2f} to {high:.2f}",
                    "Last epoch, %": f"{100 * metrics.last_epoch_top1:.2f}",
                    "Validation, %": f"{100 * metrics.validation_top1:.2f}",
                    "Best epoch": "pretrained"
                    if cell.details.pretrained
                    else f"{metrics.best_epoch} of {len(cell.curves)}",
                    "Test loss": f"{metrics.loss:.3f}",
                }
            )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def published_beside(
    results: Results, network: str, published: Sequence[PublishedFigure]
) -> Table | None:
    """Published figures for the same data set and network; None where there are none.

    Ours is the complete method against 1-bit weights and activations, full precision against
    32-bit ones. Cells that are not confirmed stay empty and say where to enter them.
    """
    data, shown = [], []
    for line in published:
        if (line.dataset, line.arch) != (results.dataset, published_name(network)):
            continue
        ours = _ours(results, network, (line.weight_bits, line.activation_bits))
        difference = ours.mean - line.top1 if ours and line.top1 is not None else None
        data.append(
            {
                **line.model_dump(exclude={"dataset", "arch", "confidence", "source"}),
                "ours_minus_published": difference,
                "confidence": line.confidence,
                "source": line.source,
            }
        )
        shown.append(
            {
                "Method": line.method,
                "Bits W/A": f"{line.weight_bits}/{line.activation_bits}",
                "Top-1, %": "" if line.top1 is None else f"{line.top1:.2f}",
                "Top-5, %": "" if line.top1 is None else number(line.top5, ".2f"),
                "Ours minus it": number(difference, "+z.2f"),
                "Source": f"not confirmed: enter from the paper, in {PUBLISHED_FILE}"
                if line.top1 is None
                else f"{line.source} ({line.confidence})",
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown)) if data else None


def _ours(results: Results, network: str, wanted: tuple[int, int]) -> Summary | None:
    row = {(1, 1): "complete", (32, 32): "full-precision"}.get(wanted, "")
    cells = [cell for cell in results.seeds(network, row) if bits(cell) == wanted]
    return summarize([100 * cell.metrics.top1 for cell in cells])


def paired(results: Results, network: str, row: str, against: str) -> Summary | None:
    """Difference in test top-1, in points, `row` minus `against`, over the seeds both have."""
    other = {cell.metrics.seed: cell.metrics.top1 for cell in results.seeds(network, against)}
    return summarize(
        [
            100 * (cell.metrics.top1 - other[cell.metrics.seed])
            for cell in results.seeds(network, row)
            if cell.metrics.seed in other
        ]
    )


def ablation(results: Results, network: str) -> Table:
    """Each row against the row it adds one thing to, paired by seed, in points of top-1."""
    data, shown = [], []
    for comparison in COMPARISONS:
        difference = paired(results, network, comparison.row, comparison.against)
        change = _change(results, network, comparison)
        data.append(
            {
                "row": comparison.row,
                "against": comparison.against,
                "change": change,
                "seeds": difference.count if difference else 0,
                **_numbers("difference", difference),
                "verdict": verdict(difference),
            }
        )
        shown.append(
            {
                "Row": row_named(comparison.row).label,
                "Against": row_named(comparison.against).label,
                "What it adds": change,
                "Seeds": str(difference.count) if difference else NONE,
                "Difference": f"{difference.mean:+z.2f}" if difference else NONE,
                "Spread": number(difference.std, ".2f") if difference else NONE,
                "95 % interval": interval(difference),
                "In words": verdict(difference),
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def _change(results: Results, network: str, comparison: Comparison) -> str:
    """What a row has and the other has not, the second step included."""
    steps = [
        {cell.details.step for cell in results.seeds(network, row)}
        for row in (comparison.row, comparison.against)
    ]
    both = all(steps) and steps[0] != steps[1]
    return f"{comparison.change}; two steps instead of one" if both else comparison.change


def layers(results: Results, network: str) -> Table:
    """Weight statistics of each layer, means over seeds; all rows in the CSV, some on the page."""
    found = layer_means(results, network)
    data = [{**vars(means), "row": means.row.name} for means in found]
    shown: dict[str, dict[tuple[str, str], str]] = {}
    for means in found:
        shown[means.layer] = {("", "Layer"): means.layer, ("", "Weights"): f"{means.elements:,}"}
    for heading, key, factor, style, rows in LAYER_COLUMNS:
        for means in found:
            value = getattr(means, key)
            if means.row.name in rows and value is not None:
                text = format(factor * value, style)
                shown[means.layer][heading, means.row.label] = text
    columns = list(dict.fromkeys(column for line in shown.values() for column in line))
    cells = [[line.get(column, NONE) for column in columns] for line in shown.values()]
    return Table(
        pd.DataFrame(data), pd.DataFrame(cells, columns=pd.MultiIndex.from_tuples(columns))
    )


def cost(results: Results, network: str) -> Table:
    """Size and operations for one image; rows that cost the same share a line."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for row, cells in results.rows(network):
        for cell in cells:
            m = cell.metrics
            key = (m.parameters, m.bits, m.binary_operations, m.real_operations)
            if row.name not in groups.setdefault(key, []):
                groups[key].append(row.name)
    data, shown = [], []
    for (parameters, size, binary, real), names in groups.items():
        compression = 32 * parameters / size
        equivalent = real + binary / BINARY_PER_REAL
        saving = (real + binary) / equivalent
        data.append(
            {
                "rows": " ".join(names),
                "parameters": parameters,
                "bits": size,
                "compression": compression,
                "binary_operations": binary,
                "real_operations": real,
                "equivalent_real_operations": equivalent,
                "saving": saving,
            }
        )
        shown.append(
            {
                "Rows": ", ".join(row_named(name).label for name in names),
                "Parameters": f"{parameters:,}",
                "Size, KiB": f"{size / 8 / 1024:,.1f}",
                "Compression": f"{compression:.1f} x",
                "Binary operations, M": f"{binary / 1e6:,.2f}",
                "Real operations, M": f"{real / 1e6:,.2f}",
                "Real equivalents, M": f"{equivalent / 1e6:,.2f}",
                "Saving": f"{saving:.1f} x",
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def bits(cell: Cell) -> tuple[int, int]:
    """Bits of weights and activations in the convolutions that may be binary."""
    binarization = cell.details.architecture.get("binarization")
    if not binarization:
        return 32, 32
    return (1 if binarization["weights"] else 32, 1 if binarization["activations"] else 32)


def number(value: float | None, style: str) -> str:
    """`value` in the given format, a dash where there is none."""
    return NONE if value is None else format(value, style)


def spread(summary: Summary | None) -> str:
    """Mean and standard deviation; the mean alone for one seed."""
    if summary is None:
        return "not run"
    mean = f"{summary.mean:.2f}"
    return mean if summary.std is None else f"{mean} ± {summary.std:.2f}"


def interval(summary: Summary | None) -> str:
    """Half-width of Student's t interval, a dash below two seeds."""
    if summary is None or summary.half_width is None:
        return NONE
    return f"± {summary.half_width:.2f}"


def _numbers(name: str, summary: Summary | None) -> dict[str, Any]:
    return {
        f"{name}_mean": summary.mean if summary else None,
        f"{name}_std": summary.std if summary else None,
        f"{name}_half_width": summary.half_width if summary else None,
    }
