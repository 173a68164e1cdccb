"""The tables of measured, compared and published figures, each as numbers and as text."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from pipeline.reporting.layers import layer_means
from pipeline.reporting.parameters import epoch_counts
from pipeline.reporting.results import Results
from pipeline.reporting.rows import COMPARISONS, Comparison, published_name, row_named
from pipeline.reporting.sources import PublishedFigure
from pipeline.reporting.statistics import (
    NONE,
    Summary,
    interval,
    number,
    spread,
    summarize,
    verdict,
)

PUBLISHED_FILE = "reports/published.csv"
TEACHERS, STUDENTS = ("full-precision", "kurtosis"), ("binary", "complete")
BINARY_PER_REAL = 64
"""Binary operations counted as one real one, as Bi-Real Net does [field]."""

Line = dict[str, Any]
Columns = Sequence[tuple[str, str, str | Callable[[Any], str]]]
"""Heading, key, and how the value under the key is shown: a format, or a function."""


@dataclass(frozen=True)
class Table:
    """One table: `data` as numbers, for CSV; `shown` as text, for people.

    The columns of `shown` may have two levels, a group and its column.
    """

    data: pd.DataFrame
    shown: pd.DataFrame


def _label(row: str) -> str:
    return row_named(row).label


def _labels(rows: str) -> str:
    return ", ".join(map(_label, rows.split()))


def _ran(summary: Summary | None) -> str:
    return spread(summary) if summary else NONE


def _bits(bits: tuple[int, int] | None) -> str:
    return f"{bits[0]}/{bits[1]}" if bits else NONE


def _mean_difference(difference: Summary | None) -> str:
    return number(difference.mean if difference else None, "+z.2f")


def _seed_spread(difference: Summary | None) -> str:
    return number(difference.std if difference else None, ".2f")


MEASURED: Columns = (
    ("Row", "row", _label),
    ("Bits W/A", "bits", _bits),
    ("Seeds", "seeds", lambda count: str(count or NONE)),
    ("Top-1, %", "top1", spread),
    ("95 % interval", "top1", interval),
    ("Top-1 of last epoch, %", "last_epoch_top1", _ran),
    ("Top-5, %", "top5", _ran),
)
RUNS: Columns = (
    ("Row", "row", _label),
    ("Seed", "seed", "d"),
    ("Top-1, %", "top1", ".2f"),
    ("Top-5, %", "top5", ".2f"),
    ("Bootstrap interval", "interval", lambda ends: f"{ends[0]:.2f} to {ends[1]:.2f}"),
    ("Last epoch, %", "last_epoch_top1", ".2f"),
    ("Validation, %", "validation_top1", ".2f"),
    ("Best epoch", "best", str),
    ("Test loss", "loss", ".3f"),
)
PUBLISHED: Columns = (
    ("Method", "method", str),
    ("Bits W/A", "bits", _bits),
    ("Epochs", "epochs", "d"),
    ("Top-1, %", "top1", ".2f"),
    ("Top-5, %", "top5", ".2f"),
    ("Ours minus it", "ours_minus_published", "+z.2f"),
    ("Source", "shown_source", str),
    ("Page", "url", lambda url: url or NONE),
)
ABLATION: Columns = (
    ("Row", "row", _label),
    ("Against", "against", _label),
    ("What it adds", "change", str),
    ("Seeds", "seeds", lambda count: str(count or NONE)),
    ("Difference", "difference", _mean_difference),
    ("Spread", "difference", _seed_spread),
    ("95 % interval", "difference", interval),
    ("In words", "verdict", str),
)
LAYERS = (
    ("Near zero, %", "near_zero_share", 100, ".2f", TEACHERS + STUDENTS),
    ("Binarization error", "binarization_error", 1, ".3f", TEACHERS + STUDENTS),
    ("Teacher distance", "teacher_distance", 1, ".1e", STUDENTS),
    ("Relative teacher distance", "teacher_distance_relative", 1, ".1e", STUDENTS),
)
"""Heading, statistic, factor, format, rows shown."""
COST: Columns = (
    ("Rows", "rows", _labels),
    ("Parameters", "parameters", ",d"),
    ("Size, KiB", "bits", lambda bits: f"{bits / 8 / 1024:,.1f}"),
    ("Compression", "compression", lambda ratio: f"{ratio:.1f} x"),
    ("Binary operations, M", "binary_operations", lambda count: f"{count / 1e6:,.2f}"),
    ("Real operations, M", "real_operations", lambda count: f"{count / 1e6:,.2f}"),
    ("Real equivalents, M", "equivalent_real_operations", lambda count: f"{count / 1e6:,.2f}"),
    ("Saving", "saving", lambda ratio: f"{ratio:.1f} x"),
)


def measured(results: Results, network: str) -> Table:
    """Every row of the table: mean and spread of test top-1 and top-5 over the seeds, in percent.

    Rows that were not run stay, with "not run".
    """
    lines = []
    for row, cells in results.rows(network):
        bits = cells[0].bits if cells else None
        line: Line = {
            "row": row.name,
            "bits": bits,
            "weight_bits": bits and bits[0],
            "activation_bits": bits and bits[1],
            "seeds": len(cells),
        }
        for key in ("top1", "last_epoch_top1", "top5"):
            line[key] = summarize([100 * getattr(cell.metrics, key) for cell in cells])
            line |= _numbers(key, line[key])
        lines.append(line)
    return _table(lines, MEASURED, drop=("bits", "top1", "last_epoch_top1", "top5"))


def runs(results: Results, network: str) -> Table:
    """Every run by itself: test figures with their bootstrap interval over the test images."""
    keys = ("top1", "top1_low", "top1_high", "last_epoch_top1", "top5", "loss", "validation_top1")
    lines = []
    for row, cells in results.rows(network):
        for cell in cells:
            line: Line = {"row": row.name, "seed": cell.metrics.seed}
            for key in keys:
                line[key] = getattr(cell.metrics, key) * (1 if key == "loss" else 100)
            line["best_epoch"] = cell.metrics.best_epoch
            line["interval"] = (line["top1_low"], line["top1_high"])
            line["best"] = f"{cell.metrics.best_epoch} of {len(cell.curves)}"
            if cell.details.pretrained:
                line["best"] = "pretrained"
            lines.append(line)
    return _table(lines, RUNS, drop=("interval", "best"))


def published_beside(
    results: Results, network: str, published: Sequence[PublishedFigure]
) -> Table | None:
    """Published figures for the same data set and network, best first; None where there are none.

    Ours is the complete method against 1-bit weights and activations, full precision against
    32-bit ones; the difference is given where both had the same number of epochs. What is not
    confirmed stays empty, comes last and says where to enter it.
    """
    lines = []
    for figure in published:
        if (figure.dataset, figure.arch) != (results.dataset, published_name(network)):
            continue
        line = figure.model_dump(exclude={"dataset", "arch"})
        line["bits"] = (figure.weight_bits, figure.activation_bits)
        ours = _comparable(results, network, figure)
        line["ours_minus_published"] = None
        if ours is not None and figure.top1 is not None:
            line["ours_minus_published"] = ours.mean - figure.top1
        line["shown_source"] = f"{figure.source} ({figure.confidence})"
        if figure.top1 is None:
            line["shown_source"] = f"not confirmed: enter from the paper, in {PUBLISHED_FILE}"
        lines.append(line)
    lines.sort(key=lambda line: (line["weight_bits"], line["top1"] is None, -(line["top1"] or 0)))
    return _table(lines, PUBLISHED, drop=("bits", "shown_source")) if lines else None


def _comparable(results: Results, network: str, figure: PublishedFigure) -> Summary | None:
    """Our top-1 at the same bits, if it was trained for as many epochs as the figure."""
    wanted = (figure.weight_bits, figure.activation_bits)
    row = {(1, 1): "complete", (32, 32): "full-precision"}.get(wanted, "")
    cells = [cell for cell in results.seeds(network, row) if cell.bits == wanted]
    if epoch_counts(cells) != {figure.epochs}:
        return None
    return summarize([100 * cell.metrics.top1 for cell in cells])


def ablation(results: Results, network: str) -> Table:
    """Each row against the row it adds one thing to, paired by seed, in points of top-1.

    The text leaves out comparisons of which a row was not run.
    """
    lines = []
    for comparison in COMPARISONS:
        difference = results.paired(network, comparison.row, comparison.against)
        lines.append(
            {
                "row": comparison.row,
                "against": comparison.against,
                "change": _change(results, network, comparison),
                "seeds": difference.count if difference else 0,
                "difference": difference,
                **_numbers("difference", difference),
                "verdict": verdict(difference),
            }
        )
    table = _table(lines, ABLATION, drop=("difference",))
    return Table(table.data, table.shown[table.data["seeds"] > 0])


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
    means = layer_means(results, network)
    first = means.drop_duplicates("layer").set_index("layer")
    shown = {("", "Layer"): first.index, ("", "Weights"): first["elements"].map("{:,}".format)}
    for heading, key, factor, style, rows in LAYERS:
        for row in rows:
            of_row = means[means["row"] == row].set_index("layer")
            if key in means and of_row[key].notna().any():
                text = (factor * of_row[key]).map(f"{{:{style}}}".format, na_action="ignore")
                shown[heading, _label(row)] = text.reindex(first.index).fillna(NONE)
    return Table(means, pd.DataFrame(shown, index=first.index))


def cost(results: Results, network: str) -> Table:
    """Size and operations for one image; rows that cost the same share a line."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for row, cells in results.rows(network):
        for cell in cells:
            m = cell.metrics
            key = (m.parameters, m.bits, m.binary_operations, m.real_operations)
            if row.name not in groups.setdefault(key, []):
                groups[key].append(row.name)
    lines = []
    for (parameters, size, binary, real), names in groups.items():
        equivalent = real + binary / BINARY_PER_REAL
        lines.append(
            {
                "rows": " ".join(names),
                "parameters": parameters,
                "bits": size,
                "compression": 32 * parameters / size,
                "binary_operations": binary,
                "real_operations": real,
                "equivalent_real_operations": equivalent,
                "saving": (real + binary) / equivalent,
            }
        )
    return _table(lines, COST)


def _table(lines: list[Line], columns: Columns, drop: Sequence[str] = ()) -> Table:
    """The lines as numbers, without the keys to `drop`, and as text by `columns`."""
    shown = [{heading: _text(line[key], how) for heading, key, how in columns} for line in lines]
    return Table(pd.DataFrame(lines).drop(columns=list(drop)), pd.DataFrame(shown))


def _text(value: Any, how: str | Callable[[Any], str]) -> str:
    return number(value, how) if isinstance(how, str) else how(value)


def _numbers(name: str, summary: Summary | None) -> Line:
    empty = dict.fromkeys(("mean", "std", "half_width"))
    numbers = asdict(summary) if summary else empty
    return {f"{name}_{key}": numbers[key] for key in empty}
