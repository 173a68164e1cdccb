"""The tables of the study: top-1 and modes at each value of a parameter."""

import pandas as pd

from pipeline.reporting.comparisons import Estimate
from pipeline.reporting.effects import of_layers, points, role
from pipeline.reporting.estimates import in_words
from pipeline.reporting.statistics import NONE, Summary, number, summarize
from pipeline.reporting.tables import Table
from pipeline.reporting.variants import Question, Study


def top1_table(study: Study, question: Question) -> Table:
    """Test top-1 in percent at each value, and its difference to the default in points."""
    data, shown = [], []
    for point in points(study, question):
        compared = point.compared
        difference = compared.estimate if compared else None
        after = compared.holm_estimate if compared else None
        data.append(
            {
                "parameter": question.key,
                "value": point.level.label,
                "row": point.row,
                "default": point.level.default,
                "seeds": point.top1.seeds,
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
                "Network": role(point.row),
                "Value": point.level.label,
                "Seeds": str(point.top1.seeds),
                "Top-1, %": f"{100 * point.top1.mean:.2f}",
                "Interval": f"{100 * point.top1.low:.2f} to {100 * point.top1.high:.2f}",
                "Minus the default": f"{100 * difference.mean:+z.2f}" if difference else NONE,
                "Its interval": _signed(difference),
                "p": number(compared.p_value if compared else None, ".3f"),
                "Interval after Holm": _signed(after),
                "p after Holm": number(compared.holm_p_value if compared else None, ".3f"),
                "In words": in_words(compared) if compared else "the default",
            }
        )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def modes_table(study: Study, question: Question) -> Table:
    """Kurtosis, depth of the valley and share of layers with two modes at each value.

    Means over layers and seeds with Student's interval over the seeds.
    """
    data, shown = [], []
    for row in question.rows:
        for level in study.levels[question]:
            if row not in level.cells:
                continue
            cells = level.cells[row]
            kurtosis, depth, modes = (
                summarize(of_layers(cells, statistic))
                for statistic in ("kurtosis", "valley_depth", "two_modes")
            )
            assert kurtosis and depth and modes
            identity = {"parameter": question.key, "value": level.label, "row": row}
            found = {"kurtosis": kurtosis, "valley_depth": depth, "two_modes": modes}
            data.append(
                {**identity, "seeds": len(cells)}
                | {
                    f"{name}_{end}": value
                    for name, summary in found.items()
                    for end, value in zip(("mean", "low", "high"), _ends(summary), strict=True)
                }
            )
            shown.append(
                {
                    "Network": role(row),
                    "Value": level.label,
                    "Seeds": str(len(cells)),
                    "Kurtosis": _with_interval(kurtosis, 1),
                    "Depth of the valley": _with_interval(depth, 1),
                    "Layers with two modes, %": _with_interval(modes, 100),
                }
            )
    return Table(pd.DataFrame(data), pd.DataFrame(shown))


def _numbers(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Mean and ends in percent."""
    return {
        f"{name}_{end}": 100 * getattr(estimate, end) if estimate else None
        for end in ("mean", "low", "high")
    }


def _signed(estimate: Estimate | None) -> str:
    return f"{100 * estimate.low:+z.2f} to {100 * estimate.high:+z.2f}" if estimate else NONE


def _ends(summary: Summary) -> tuple[float, float | None, float | None]:
    if summary.half_width is None:
        return summary.mean, None, None
    return summary.mean, summary.mean - summary.half_width, summary.mean + summary.half_width


def _with_interval(summary: Summary, factor: float) -> str:
    mean, low, high = _ends(summary)
    digits = 0 if factor == 100 else 2
    text = f"{factor * mean:.{digits}f}"
    if low is None or high is None:
        return text
    return f"{text} ({factor * low:.{digits}f} to {factor * high:.{digits}f})"
