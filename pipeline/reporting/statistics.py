"""Mean, spread and confidence interval over seeds, as numbers and as text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""A smaller standard deviation or difference comes from rounding."""
NONE = "-"


@dataclass(frozen=True)
class Summary:
    """A number measured once per seed.

    `std` is the sample standard deviation (n - 1), and `half_width` is half the width of Student's
    t interval: t(0.975, n - 1) * std / sqrt(n). Both are None for a single seed. Equal values have
    no interval either, because on a small test set they are equal by chance.
    """

    count: int
    mean: float
    std: float | None
    half_width: float | None


def summarize(values: Sequence[float]) -> Summary | None:
    """Summarize one value per seed; None if there are none."""
    count = len(values)
    if count == 0:
        return None
    mean = float(np.mean(values))
    if count == 1:
        return Summary(1, mean, None, None)
    std = float(np.std(values, ddof=1))
    if std < ROUNDING:
        return Summary(count, mean, 0.0, None)
    quantile = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return Summary(count, mean, std, quantile * std / count**0.5)


def spread(summary: Summary | None) -> str:
    """Mean and standard deviation; the mean alone for one seed."""
    if summary is None:
        return "not run"
    mean = f"{summary.mean:.2f}"
    return mean if summary.std is None else f"{mean} ± {summary.std:.2f}"


def reach(values: Sequence[float], style: str = "g") -> str:
    """The least and the greatest value, such as "16 to 18"; one number if both look the same."""
    ends = dict.fromkeys(format(end, style) for end in (min(values), max(values)))
    return " to ".join(ends)


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural unless it is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def number(value: float | None, style: str) -> str:
    """`value` in the given format, or a dash if it is None."""
    return NONE if value is None else format(value, style)
