"""The tables of measured, compared and published figures, each as numbers and as text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipeline.reporting.comparisons import Estimate
from pipeline.reporting.estimates import differences, in_words, top1
from pipeline.reporting.layers import layer_means
from pipeline.reporting.parameters import epoch_counts
from pipeline.reporting.results import Results
from pipeline.reporting.rows import (
    BINARY,
    COMPARISONS,
    COMPLETE,
    CONTROL,
    REAL,
    TUNED,
    Comparison,
    published_name,
    row_named,
)
from pipeline.reporting.sources import PublishedFigure
from pipeline.reporting.statistics import NONE, Summary, number, reach, spread, summarize

PUBLISHED_FILE = "reports/published.csv"
SHOWN_ROWS = (CONTROL, TUNED, BINARY, COMPLETE)
"""Rows whose layers the page shows."""
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
    return "; ".join(map(_label, rows.split()))


def _ran(summary: Summary | None) -> str:
    return spread(summary) if summary else NONE


def _bits(bits: tuple[int, int] | None) -> str:
    return f"{bits[0]}/{bits[1]}" if bits else NONE


def _interval(estimate: Estimate | None) -> str:
    return f"{estimate.low:.2f} to {estimate.high:.2f}" if estimate else NONE


def _signed_interval(estimate: Estimate | None) -> str:
    return f"{estimate.low:+z.2f} to {estimate.high:+z.2f}" if estimate else NONE


def p_value(value: float | None) -> str:
    """Show a p-value with three decimals."""
    return "<0.001" if value is not None and value < 0.001 else number(value, ".3f")


def _signed_mean(estimate: Estimate | None) -> str:
    return number(estimate.mean if estimate else None, "+z.2f")


MEASURED: Columns = (
    ("Row", "row", _label),
    ("Bits W/A", "bits", _bits),
    ("Seeds", "seeds", lambda count: str(count or NONE)),
    ("Top-1, %", "top1", spread),
    ("Interval", "estimate", _interval),
    ("Top-1 of last epoch, %", "last_epoch_top1", _ran),
    ("Top-5, %", "top5", _ran),
)
RUNS: Columns = (
    ("Row", "row", _label),
    ("Seed", "seed", "d"),
    ("Top-1, %", "top1", ".2f"),
    ("Top-5, %", "top5", ".2f"),
    ("Interval", "interval", lambda ends: f"{ends[0]:.2f} to {ends[1]:.2f}"),
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
    ("Ours minus it", "ours_minus_published", _signed_mean),
    ("Interval", "ours_minus_published", _signed_interval),
    ("Source", "shown_source", str),
    ("Page", "url", lambda url: url or NONE),
)
ABLATION: Columns = (
    ("Row", "row", _label),
    ("Against", "against", _label),
    ("What it isolates", "change", str),
    ("Seeds", "seeds", lambda count: str(count or NONE)),
    ("Difference", "difference", _signed_mean),
    ("Interval", "difference", _signed_interval),
    ("p", "p_value", p_value),
    ("Interval after Holm", "holm", _signed_interval),
    ("p after Holm", "holm_p_value", p_value),
    ("In words", "in_words", str),
)
BLANK_MAPS: Columns = (
    ("Row", "row", _label),
    ("Maps at each seed", "maps", ",d"),
    ("Blank, mean, %", "mean", ".3f"),
    ("Blank at each seed, %", "shares", str),
)
KURTOSIS: Columns = (
    ("Row", "row", _label),
    ("Before training", "before", ".2f"),
    ("At the best epoch", "after", ".2f"),
    ("Least layer", "least", ".2f"),
    ("Greatest layer", "greatest", ".2f"),
    ("Distance to target", "distance", ".3f"),
)
LAYERS = (
    ("Near zero, %", "near_zero_share", 100, ".2f"),
    ("Binarization error", "binarization_error", 1, ".3f"),
    ("Relative teacher distance", "teacher_distance_relative", 1, ".1e"),
)
MODES = (
    ("Two modes, % of seeds", "two_modes", 100, ".0f"),
    ("Depth of the valley", "valley_depth", 1, ".2f"),
    ("p of the dip test", "dip_p_value", 1, ".2g"),
)
"""Heading, statistic, factor, format."""
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
    """Every row of the table: test top-1 and top-5 over the seeds, in percent.

    The interval of top-1 is that of `estimates.top1`. Rows that were not run are listed as "not
    run".
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
        line["estimate"] = _in_points(top1(results, network, row.name))
        line |= _ends("top1", line["estimate"])
        lines.append(line)
    return _table(lines, MEASURED, drop=("bits", "top1", "last_epoch_top1", "top5", "estimate"))


def runs(results: Results, network: str) -> Table:
    """Every run by itself: test figures with Wilson's interval over the test images."""
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

    A figure with 1-bit weights and activations is compared with our complete method, and one with
    32 bits with our full-precision network. The difference is given where both had the same number
    of epochs. A figure that is not confirmed stays empty, comes last and says where to enter it.
    """
    lines = []
    for figure in published:
        if (figure.dataset, figure.arch) != (results.published_dataset, published_name(network)):
            continue
        line = figure.model_dump(exclude={"dataset", "arch"})
        line["bits"] = (figure.weight_bits, figure.activation_bits)
        ours = _comparable(results, network, figure)
        line["ours_minus_published"] = None
        if ours is not None and figure.top1 is not None:
            line["ours_minus_published"] = _shifted(ours, -figure.top1)
        line |= _ends("ours_minus_published", line["ours_minus_published"], mean=True)
        line["shown_source"] = f"{figure.source} ({figure.confidence})"
        if figure.top1 is None:
            line["shown_source"] = f"not confirmed: enter from the paper, in {PUBLISHED_FILE}"
        lines.append(line)
    lines.sort(key=lambda line: (line["weight_bits"], line["top1"] is None, -(line["top1"] or 0)))
    drop = ("bits", "shown_source", "ours_minus_published")
    return _table(lines, PUBLISHED, drop) if lines else None


def _comparable(results: Results, network: str, figure: PublishedFigure) -> Estimate | None:
    """Our top-1 in percent at the same bits, if it had as many epochs as the published figure."""
    wanted = (figure.weight_bits, figure.activation_bits)
    row = {(1, 1): COMPLETE, (32, 32): REAL}.get(wanted, "")
    cells = results.seeds(network, row)
    if {cell.bits for cell in cells} != {wanted} or epoch_counts(cells) != {figure.epochs}:
        return None
    return _in_points(top1(results, network, row))


def ablation(results: Results, network: str) -> Table:
    """Each row against the row it adds one thing to, in points of top-1.

    The text leaves out comparisons if one of the two rows was not run.
    """
    compared = differences(results, network)
    lines = []
    for comparison in COMPARISONS:
        found = compared.get(comparison)
        difference = _in_points(found.estimate if found else None)
        after = _in_points(found.holm_estimate if found else None)
        lines.append(
            {
                "row": comparison.row,
                "against": comparison.against,
                "change": _change(results, network, comparison),
                "seeds": difference.seeds if difference else 0,
                "difference": difference,
                "holm": after,
                **_ends("difference", difference, mean=True),
                "p_value": found.p_value if found else None,
                **_ends("holm", after),
                "holm_p_value": found.holm_p_value if found else None,
                "comparisons": found.family_size if found else len(compared),
                "in_words": in_words(found) if found else "not run",
            }
        )
    table = _table(lines, ABLATION, drop=("difference", "holm"))
    return Table(table.data, table.shown[table.data["seeds"] > 0])


def _change(results: Results, network: str, comparison: Comparison) -> str:
    """What a row has and the other lacks, including a second step."""
    steps = [
        {cell.details.step for cell in results.seeds(network, row)}
        for row in (comparison.row, comparison.against)
    ]
    both = all(steps) and steps[0] != steps[1]
    return f"{comparison.change}; two steps instead of one" if both else comparison.change


def layers(results: Results, network: str) -> Table:
    """Statistics of each layer, means over seeds; all in the CSV, some on the page."""
    means = layer_means(results, network)
    return Table(means, _by_layer(means, LAYERS))


def modes(results: Results, network: str) -> Table:
    """Modes of each layer's weights, means over seeds; all rows in the CSV, some on the page."""
    means = layer_means(results, network)
    keys = [key for _, key, _, _ in MODES]
    return Table(means[["row", "layer", "elements", *keys]], _by_layer(means, MODES))


def _by_layer(means: pd.DataFrame, columns: Sequence[tuple[str, str, float, str]]) -> pd.DataFrame:
    first = means.drop_duplicates("layer").set_index("layer")
    shown = {("", "Layer"): first.index, ("", "Weights"): first["elements"].map("{:,}".format)}
    for heading, key, factor, style in columns:
        for row in SHOWN_ROWS:
            of_row = means[means["row"] == row].set_index("layer")
            if of_row[key].notna().any():
                text = (factor * of_row[key]).map(f"{{:{style}}}".format, na_action="ignore")
                shown[heading, _label(row)] = text.reindex(first.index).fillna(NONE)
    return pd.DataFrame(shown, index=first.index)


def kurtosis(results: Results, network: str) -> Table:
    """Kurtosis of each row's weights before training and at its best epoch.

    These are means over layers and seeds. The least and the greatest layer are those of any seed at
    the best epoch. A fine-tuned network starts from the trained one, and a student starts from the
    weights that its parameters name.
    """
    lines = []
    for row, cells in results.run_rows(network):
        after = [layer.kurtosis for cell in cells for layer in cell.details.layers]
        curves = [cell.kurtosis for cell in cells]
        before = [each[each["epoch"] == each["epoch"].min()] for each in curves]
        distances = [cell.metrics.kurtosis_distance for cell in cells]
        distance = summarize([each for each in distances if each is not None])
        lines.append(
            {
                "row": row.name,
                "before": float(pd.concat(before)["kurtosis"].mean()),
                "after": sum(after) / len(after),
                "least": min(after),
                "greatest": max(after),
                "distance": distance.mean if distance else None,
            }
        )
    return _table(lines, KURTOSIS)


def blank_maps(results: Results, network: str) -> Table | None:
    """Share of blank 1-bit maps over all test images and layers; None where all maps have 32 bits.

    The CSV has a line for each run, and the page has one for each row.
    """
    data: list[Line] = []
    lines: list[Line] = []
    for row, cells in results.run_rows(network):
        of_row: list[Line] = []
        for cell in cells:
            maps = cell.details.blank_maps.values()
            if maps:
                blank, of = sum(each.blank for each in maps), sum(each.maps for each in maps)
                line = {"row": row.name, "seed": cell.metrics.seed, "maps": of, "blank": blank}
                of_row.append({**line, "share": blank / of})
        if of_row:
            shares = [100 * line["share"] for line in of_row]
            lines.append(
                {
                    "row": row.name,
                    "maps": of_row[0]["maps"],
                    "mean": sum(shares) / len(shares),
                    "shares": reach(shares, ".3f"),
                }
            )
        data += of_row
    return Table(pd.DataFrame(data), _table(lines, BLANK_MAPS).shown) if lines else None


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
    """A table of `lines`: as numbers, without the keys in `drop`, and as text, by `columns`."""
    shown = [{heading: _text(line[key], how) for heading, key, how in columns} for line in lines]
    return Table(pd.DataFrame(lines).drop(columns=list(drop)), pd.DataFrame(shown))


def _text(value: Any, how: str | Callable[[Any], str]) -> str:
    return number(value, how) if isinstance(how, str) else how(value)


def _numbers(name: str, summary: Summary | None) -> Line:
    return {f"{name}_{key}": getattr(summary, key) if summary else None for key in ("mean", "std")}


def _ends(name: str, estimate: Estimate | None, *, mean: bool = False) -> Line:
    keys = ("mean", "low", "high") if mean else ("low", "high")
    return {f"{name}_{key}": getattr(estimate, key) if estimate else None for key in keys}


def _in_points(estimate: Estimate | None) -> Estimate | None:
    """The same estimate in percent."""
    if estimate is None:
        return None
    mean, low, high = (100 * each for each in (estimate.mean, estimate.low, estimate.high))
    return replace(estimate, mean=mean, low=low, high=high)


def _shifted(estimate: Estimate, by: float) -> Estimate:
    mean, low, high = (each + by for each in (estimate.mean, estimate.low, estimate.high))
    return replace(estimate, mean=mean, low=low, high=high)
