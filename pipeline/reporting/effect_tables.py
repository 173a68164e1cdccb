"""The tables of the study: top-1 and modes at each value of a parameter."""

from typing import Any

import pandas as pd

from pipeline.reporting.choices import candidates
from pipeline.reporting.comparisons import Estimate
from pipeline.reporting.effects import (
    Interval,
    Point,
    Statistic,
    mode_interval,
    points,
    role,
    valley_trend,
)
from pipeline.reporting.estimates import in_words
from pipeline.reporting.statistics import NONE
from pipeline.reporting.tables import Table, p_value
from pipeline.reporting.variants import Question, Study

STATISTICS: dict[Statistic, tuple[str, float, str]] = {
    "kurtosis": ("Kurtosis", 1, ".2f"),
    "valley_depth": ("Depth of the valley", 1, ".2f"),
    "two_modes": ("Layers with two modes, %", 100, ".0f"),
}
"""Heading, factor and format of each statistic."""


def top1_table(study: Study, question: Question) -> Table:
    """Test top-1 in percent at each value, and its difference to the default in points."""
    data, shown = [], []
    for point in points(study, question):
        compared = point.compared
        difference = compared.estimate if compared else None
        after = compared.holm_estimate if compared else None
        data.append(
            {
                **_about(question, point),
                **_numbers("top1", point.top1),
                **_numbers("difference", difference),
                "p_value": compared.p_value if compared else None,
                **_numbers("holm", after),
                "holm_p_value": compared.holm_p_value if compared else None,
                "comparisons": compared.family_size if compared else None,
            }
        )
        shown.append(
            {
                **_named(point),
                "Top-1, %": f"{100 * point.top1.mean:.2f}",
                "Interval": f"{100 * point.top1.low:.2f} to {100 * point.top1.high:.2f}",
                "Minus the default": f"{100 * difference.mean:+z.2f}" if difference else NONE,
                "Its interval": _signed(difference),
                "p": p_value(compared.p_value if compared else None),
                "Interval after Holm": _signed(after),
                "p after Holm": p_value(compared.holm_p_value if compared else None),
                "In words": in_words(compared) if compared else "the default",
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def modes_table(study: Study, question: Question) -> Table:
    """Kurtosis, depth of the valley and share of layers with two modes at each value.

    They are means over layers and seeds, with the interval of `mode_interval`.
    """
    data, shown = [], []
    for row in question.rows:
        for level in study.levels[question]:
            if row not in level.cells:
                continue
            cells = level.cells[row]
            found = {each: mode_interval(cells, each) for each in STATISTICS}
            data.append(
                {"parameter": question.key, "value": level.label, "row": row, "seeds": len(cells)}
                | {
                    f"{name}_{end}": getattr(interval, end)
                    for name, interval in found.items()
                    for end in ("mean", "low", "high")
                }
            )
            shown.append(
                {"Network": role(row), "Value": level.label, "Seeds": str(len(cells))}
                | {
                    heading: _with_interval(found[name], factor, style)
                    for name, (heading, factor, style) in STATISTICS.items()
                }
            )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def trend_table(study: Study, question: Question) -> Table:
    """How much deeper the valley gets where the target is TARGET_STEP lower, see `valley_trend`."""
    data, shown = [], []
    for row in question.rows:
        trend = valley_trend(study, question, row)
        if trend is None or trend.half_width is None:
            continue
        low, high = trend.mean - trend.half_width, trend.mean + trend.half_width
        line = {"seeds": trend.count, "mean": trend.mean, "low": low, "high": high}
        data.append({"parameter": question.key, "row": row} | line)
        shown.append(
            {
                "Network": role(row),
                "Seeds": str(trend.count),
                "Change of the depth": f"{trend.mean:+z.3f}",
                "Interval": f"{low:+z.3f} to {high:+z.3f}",
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def choice_table(study: Study, question: Question) -> Table:
    """Top-1 in percent on validation and on test, and the differences to the default in points.

    The intervals of validation are Student's over the seeds, and those of test are bootstraps. They
    are not corrected for the number of differences.
    """
    data, shown = [], []
    pairs = zip(candidates(study, question), points(study, question), strict=True)
    for candidate, point in pairs:
        difference = point.compared.estimate if point.compared else None
        data.append(
            {
                **_about(question, point),
                **_numbers("validation_top1", candidate.top1),
                **_numbers("validation_difference", candidate.difference),
                **_numbers("top1", point.top1),
                **_numbers("difference", difference),
            }
        )
        shown.append(
            {
                **_named(point),
                "Validation top-1, %": _with_interval(candidate.top1, 100, ".2f"),
                "Minus the default, on validation": _difference(point, candidate.difference),
                "Test top-1, %": _with_interval(point.top1, 100, ".2f"),
                "Minus the default, on test": _difference(point, difference),
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def _about(question: Question, point: Point) -> dict[str, Any]:
    """The first columns of a line of the CSV file."""
    return {
        "parameter": question.key,
        "value": point.level.label,
        "row": point.row,
        "default": point.level.default,
        "seeds": point.top1.seeds,
    }


def _named(point: Point) -> dict[str, str]:
    """The first columns of a line of the page."""
    seeds = str(point.top1.seeds)
    return {"Network": role(point.row), "Value": point.level.label, "Seeds": seeds}


def _numbers(name: str, estimate: Estimate | Interval | None) -> dict[str, float | None]:
    """Mean of an estimate and ends of its interval, in percent."""
    return {
        f"{name}_{end}": 100 * getattr(estimate, end) if estimate else None
        for end in ("mean", "low", "high")
    }


def _difference(point: Point, difference: Estimate | Interval | None) -> str:
    if point.level.default:
        return "the default"
    return _with_interval(difference, 100, "+z.2f") if difference else NONE


def _signed(estimate: Estimate | None) -> str:
    return f"{100 * estimate.low:+z.2f} to {100 * estimate.high:+z.2f}" if estimate else NONE


def _with_interval(interval: Estimate | Interval, factor: float, style: str) -> str:
    mean, low, high = (
        format(factor * each, style) for each in (interval.mean, interval.low, interval.high)
    )
    return mean if interval.low == interval.high else f"{mean} ({low} to {high})"
