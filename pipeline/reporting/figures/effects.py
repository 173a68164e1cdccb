"""Figures of the study: the effect of a parameter, with an interval at each of its values."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting.effects import (
    Statistic,
    mode_interval,
    of_layers,
    points,
    role,
)
from pipeline.reporting.figures.style import INK, handle, legend, marks
from pipeline.reporting.rows import Row, row_named
from pipeline.reporting.variants import Level, Question, Study

NARROW, PANEL_HEIGHT = 5.2, 1.9
"""Width of a figure and height of a panel, in inches. At this width, its text can be read on a page
of 400 pixels."""
GAP = 0.16
"""Distance between a value and what lies beside it, as a share of the width of all values."""
SPREAD = 0.045
"""Distance between two rows at one value, as a share of the width of all values."""
AXES = {
    "kurtosis.target": "Target of the kurtosis loss, K_T",
    "kurtosis.weight": "Lambda, weight of the kurtosis loss (log scale)",
    "mimicking.weight": "Beta, weight of WDM (log scale)",
    "mimicking.form": "Form of WDM",
    "binarization.sign_gradient": "Gradient of the sign",
}


def target_effects(study: Study, question: Question) -> Figure:
    """Modes of the weights and top-1 of teacher and student at each value of the target."""
    figure, grid = _stacked(2 + len(question.rows))
    statistics: tuple[tuple[Statistic, str, float], ...] = (
        ("valley_depth", "Depth of the valley", 1),
        ("two_modes", "Layers with two modes, %", 100),
    )
    for axes, (statistic, title, factor) in zip(grid, statistics, strict=False):
        _modes(axes, study, question, statistic, factor)
        axes.set_title(title)
    for axes, row in zip(grid[2:], question.rows, strict=True):
        _top1(axes, study, question, [row])
        axes.set_title(f"Test top-1, %: {role(row)}")
    _legend(figure, question.rows)
    return figure


def top1_by_value(study: Study, questions: Sequence[Question], *, together: bool) -> Figure:
    """Top-1 at each value of some parameters.

    Args:
        study: Table and variants.
        questions: Each has a panel, or a panel for each of its rows.
        together: Whether the rows of a question share a panel.
    """
    shown = [
        (question, rows)
        for question in questions
        for rows in ([question.rows] if together else [(row,) for row in question.rows])
    ]
    figure, grid = _stacked(len(shown))
    for axes, (question, rows) in zip(grid, shown, strict=True):
        _top1(axes, study, question, rows)
        axes.set_title("Test top-1, %" if together else f"Test top-1, %: {role(rows[0])}")
    _legend(figure, dict.fromkeys(row for _, rows in shown for row in rows))
    return figure


def _stacked(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(NARROW, 0.9 + (PANEL_HEIGHT + 0.35) * count))
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def _places(question: Question, levels: Sequence[Level]) -> dict[str, float]:
    """Where each level stands on the x axis: values span 0 to 1, with missing losses on the right.

    On a log scale a missing loss, whose weight is 0, stands to the left of the values.
    """
    values = [level.value for level in levels if level.value is not None]
    if question.scale == "names":
        raw = np.arange(len(values), dtype=float)
    else:
        raw = np.array(values, dtype=float)
    if question.scale == "log":
        raw = np.log10(raw)
    scaled = iter((raw - raw.min()) / np.ptp(raw))
    places = {}
    missing = 0
    for level in levels:
        if level.value is not None:
            places[level.label] = float(next(scaled))
        else:
            missing += 1
            places[level.label] = -GAP if question.scale == "log" else 1 + 1.4 * GAP * missing
    return places


def _top1(axes: Axes, study: Study, question: Question, rows: Sequence[str]) -> None:
    places = _axis(axes, study, question)
    every = points(study, question)
    for row, shift in _shifts(rows):
        of_row = [point for point in every if point.row == row]
        _draw(
            axes,
            row_named(row),
            [places[point.level.label] + shift for point in of_row],
            [100 * point.top1.mean for point in of_row],
            [(100 * point.top1.low, 100 * point.top1.high) for point in of_row],
            [[100 * c.metrics.top1 for c in point.level.cells[row]] for point in of_row],
            joined=[_joined(question, point.level) for point in of_row],
        )


def _modes(
    axes: Axes, study: Study, question: Question, statistic: Statistic, factor: float
) -> None:
    places = _axis(axes, study, question)
    for row, shift in _shifts(question.rows):
        levels = [level for level in study.levels[question] if row in level.cells]
        found = [mode_interval(level.cells[row], statistic) for level in levels]
        seeds = [[factor * x for x in of_layers(each.cells[row], statistic)] for each in levels]
        _draw(
            axes,
            row_named(row),
            [places[level.label] + shift for level in levels],
            [factor * each.mean for each in found],
            [(factor * each.low, factor * each.high) for each in found],
            seeds,
            joined=[_joined(question, level) for level in levels],
        )


def _joined(question: Question, level: Level) -> bool:
    return question.scale != "names" and level.value is not None


def _shifts(rows: Sequence[str]) -> list[tuple[str, float]]:
    middle = (len(rows) - 1) / 2
    return [(row, SPREAD * (place - middle)) for place, row in enumerate(rows)]


def _axis(axes: Axes, study: Study, question: Question) -> dict[str, float]:
    """Label the x axis with the parameter's values, mark the default, and return their places."""
    levels = study.levels[question]
    places = _places(question, levels)
    labels = [
        "\n".join([*level.label.split(" "), *(["(default)"] if level.default else [])])
        for level in levels
    ]
    axes.set_xticks(list(places.values()), labels)
    axes.set_xlim(min(places.values()) - 0.09, max(places.values()) + 0.09)
    axes.set_xlabel(AXES[question.key])
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.1)
    for level in levels:
        if level.default:
            axes.axvline(
                places[level.label], color="#bbbbbb", lw=1, linestyle=(0, (1, 2)), zorder=0
            )
    return places


def _draw(
    axes: Axes,
    row: Row,
    x: Sequence[float],
    means: Sequence[float],
    ends: Sequence[tuple[float, float]],
    seeds: Sequence[Sequence[float]],
    joined: Sequence[bool],
) -> None:
    """Draw a mark and its interval at each x, dots for the seeds, and a line where `joined`."""
    line = [index for index, each in enumerate(joined) if each]
    axes.plot([x[i] for i in line], [means[i] for i in line], color=row.colour, lw=1, alpha=0.6)
    axes.vlines(x, *zip(*ends, strict=True), color=row.colour, lw=2.2)
    for place, values in zip(x, seeds, strict=True):
        axes.plot([place + 0.022] * len(values), values, ".", color=row.colour, ms=4, alpha=0.55)
    axes.plot(x, means, linestyle="none", ms=7, zorder=3, **marks(row))


def _legend(figure: Figure, rows: Iterable[str]) -> None:
    legend(
        figure,
        [
            *(handle(role(row), linestyle="none", ms=7, **marks(row_named(row))) for row in rows),
            handle("interval", color=INK, marker="|", ms=11, linestyle="none", mew=2.2),
            handle("one seed", color=INK, marker=".", ms=4, linestyle="none"),
        ],
        columns=2,
    )
