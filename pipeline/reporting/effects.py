"""What a parameter does: top-1 at each value against the default, and the modes at each value."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np

from pipeline.errors import UserError
from pipeline.reporting.caveats import about_data
from pipeline.reporting.comparisons import Compared, Estimate, compare_family
from pipeline.reporting.estimates import draws, in_words, top1
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import BINARY, COMPLETE, REAL, TUNED
from pipeline.reporting.sources import FileNote
from pipeline.reporting.statistics import CONFIDENCE, Summary, counted, summarize
from pipeline.reporting.variants import Level, Question, Study
from pipeline.reporting.verdicts import EQUIVALENCE_MARGIN, SEEDS_NEEDED

Statistic = Literal["valley_depth", "two_modes", "kurtosis"]
POSSIBLE: dict[Statistic, tuple[float, float]] = {
    "valley_depth": (0, 1),
    "two_modes": (0, 1),
    "kurtosis": (1, inf),
}
ROLES = {
    REAL: "full-precision teacher",
    TUNED: "fine-tuned teacher",
    COMPLETE: "student of the complete method",
    BINARY: "student of binary alone",
}
"""Names of the rows of a question; a level may have another row of the table in their place."""
TARGET_STEP = 0.1
"""Difference of the target K_T for which the change of the valley is stated."""
UNDECIDED = "Whether "
"""Beginning of each sentence that calls a question undecided."""


@dataclass(frozen=True)
class Point:
    """One row at one level of a question."""

    level: Level
    row: str
    top1: Estimate
    """A share, with the interval of `estimates.top1`."""
    compared: Compared | None
    """Its difference from the default, as a share; None for the default itself."""


def points(study: Study, question: Question) -> list[Point]:
    """Top-1 of each row at each level, row by row.

    All differences of a question from its default, over all of its rows, form one family. They are
    paired by seed and by test image.
    """
    levels = study.levels[question]
    default = next(level for level in levels if level.default)
    places = [(row, level) for row in question.rows for level in levels if row in level.cells]
    pairs = {
        (row, level.label): _paired(level.cells[row], default.cells[row])
        for row, level in places
        if not level.default
    }
    compared = compare_family(
        f"the differences of {question.parameter}", pairs, **draws(study.table)
    )
    return [
        Point(level, row, _top1(study, level.cells[row]), compared.get((row, level.label)))
        for row, level in places
    ]


def role(row: str) -> str:
    """Name of a row of a question, for the start of a line."""
    return _capital(ROLES[row])


def of_layers(cells: Sequence[Cell], statistic: Statistic) -> list[float]:
    """Mean of a statistic over the layers under the kurtosis loss, for each cell."""
    return [fmean(getattr(layer, statistic) for layer in cell.details.layers) for cell in cells]


class Interval(NamedTuple):
    """A mean over seeds with its interval, which is the mean itself where there is none."""

    mean: float
    low: float
    high: float


def mode_interval(cells: Sequence[Cell], statistic: Statistic) -> Interval:
    """Mean of `of_layers` over the seeds, see `seed_interval`."""
    return seed_interval(of_layers(cells, statistic), *POSSIBLE[statistic])


def seed_interval(values: Sequence[float], least: float, greatest: float) -> Interval:
    """Mean over the seeds with Student's interval, cut at `least` and `greatest`.

    A single seed has no interval, nor do seeds that all agree.
    """
    summary = summarize(values)
    assert summary is not None
    width = summary.half_width or 0.0
    return Interval(
        summary.mean, max(summary.mean - width, least), min(summary.mean + width, greatest)
    )


def valley_trend(study: Study, question: Question, row: str) -> Summary | None:
    """How much deeper the valley of the weights gets where the target is TARGET_STEP lower.

    This is -TARGET_STEP times the slope of a straight line through the depths at the values of the
    parameter, which is fitted for each seed by least squares.

    Args:
        study: Table and variants.
        question: The question of the target.
        row: The row whose weights are measured.

    Returns:
        Summary over the seeds; None if fewer than two seeds were run at all values.
    """
    depths: dict[float, dict[int, float]] = {}
    for level in study.levels[question]:
        if isinstance(level.value, int | float):
            cells = level.cells[row]
            seeds = [cell.metrics.seed for cell in cells]
            depths[level.value] = dict(zip(seeds, of_layers(cells, "valley_depth"), strict=True))
    common = set.intersection(*(set(of_seed) for of_seed in depths.values()))
    if len(common) < 2:
        return None
    values = list(depths)
    slopes = [
        np.polyfit(values, [depths[value][seed] for value in values], 1)[0]
        for seed in sorted(common)
    ]
    return summarize([-TARGET_STEP * slope for slope in slopes])


def answers(study: Study) -> list[str]:
    """Sentences for each question and row: it makes a difference, it makes none, or is undecided.

    If it is undecided, the sentence begins with UNDECIDED. The questions that validation decides
    have their sentences in `choices`.
    """
    found = []
    for question in study.levels:
        if question.by_validation:
            continue
        if question.name == "target":
            found += [_valley(study, question, row) for row in question.rows]
        every = points(study, question)
        found += [
            _depends(question, [point for point in every if point.row == row])
            for row in question.rows
        ]
    return found


def remarks(study: Study, notes: Sequence[FileNote]) -> list[str]:
    """What a reader must know before quoting a figure of the study."""
    images = len(study.table.cells[0].outcomes)
    listed = ", ".join(map(str, study.seeds))
    return [
        f"Seeds {listed} and {images:,} test images: one image is {100 / images:.2f} points.",
        *about_data(study.table, notes),
    ]


def _depends(question: Question, of_row: Sequence[Point]) -> str:
    default = next(point.level.label for point in of_row if point.level.default)
    differences = [(p.level.label, p.compared) for p in of_row if p.compared is not None]
    standing = [
        (label, each) for label, each in differences if in_words(each) in ("higher", "lower")
    ]
    first = differences[0][1]
    low = min(each.holm_estimate.low for _, each in differences)
    high = max(each.holm_estimate.high for _, each in differences)
    seeds = min(each.estimate.seeds for _, each in differences)
    level = f"{100 * first.estimate.confidence:g} % intervals"
    comparisons = counted(first.family_size, "comparison")
    terms = f"after Holm's correction over {comparisons}, with {counted(seeds, 'seed')}"
    subject = f"top-1 of the {ROLES[of_row[0].row]}"
    if standing:
        listed = " and ".join(
            f"{_points(each.holm_estimate.mean)} points at {label} "
            f"({_points(each.holm_estimate.low)} to {_points(each.holm_estimate.high)})"
            for label, each in standing
        )
        return (
            f"{_capital(subject)} depends on {question.parameter}. Compared with {default} it "
            f"changes by {listed}; the {level} are those {terms}."
        )
    reach = f"from {_points(low)} to {_points(high)} points"
    if seeds >= SEEDS_NEEDED and max(-low, high) < EQUIVALENCE_MARGIN / 100:
        return (
            f"{_capital(subject)} does not depend on {question.parameter} by "
            f"{EQUIVALENCE_MARGIN} points or more: the {level} of the differences to {default} "
            f"reach {reach} ({terms})."
        )
    return (
        f"Whether {subject} depends on {question.parameter} is undecided: no difference to "
        f"{default} stands out, and their {level} reach {reach} ({terms})."
    )


def _valley(study: Study, question: Question, row: str) -> str:
    trend = valley_trend(study, question, row)
    subject = f"a lower target K_T deepens the valley between the modes of the {ROLES[row]}"
    if trend is None or trend.half_width is None or trend.count < SEEDS_NEEDED:
        return (
            f"Whether {subject} is undecided: an interval needs {SEEDS_NEEDED} seeds that do not "
            "all agree."
        )
    low, high = trend.mean - trend.half_width, trend.mean + trend.half_width
    evidence = (
        f"its depth, a mean over the layers, changes by {trend.mean:+z.3f} for a target that is "
        f"{TARGET_STEP} lower ({100 * CONFIDENCE:.0f} % interval {low:+z.3f} to {high:+z.3f}, "
        f"{counted(trend.count, 'seed')})"
    )
    if low > 0:
        return f"{_capital(subject)}: {evidence}."
    if high < 0:
        return f"It is not so that {subject}: {evidence}."
    return f"Whether {subject} is undecided: {evidence}."


def _paired(cells: Sequence[Cell], others: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of both groups of cells at the seeds that both have, bool (seeds, images) each."""
    other = {cell.metrics.seed: cell for cell in others}
    common = [cell for cell in cells if cell.metrics.seed in other]
    if not common:
        raise UserError(f"{cells[0].name} and {others[0].name}: no seed has both, so no pair does")
    return (
        np.stack([cell.outcomes for cell in common]),
        np.stack([other[cell.metrics.seed].outcomes for cell in common]),
    )


def _top1(study: Study, cells: Sequence[Cell]) -> Estimate:
    found = top1(Results(study.table.dataset, tuple(cells)), study.network, cells[0].metrics.row)
    assert found is not None
    return found


def _points(share: float) -> str:
    return f"{100 * share:+z.2f}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
