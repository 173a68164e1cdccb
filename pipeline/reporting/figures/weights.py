"""Figures of weights: histograms, kurtosis, and statistics of each layer."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipeline.reporting.figures.style import WIDTH, legend, panels
from pipeline.reporting.layers import layer_means
from pipeline.reporting.results import Cell, Results

STUDENTS = ("complete", "binary-kurtosis", "binary-mimicking", "binary-distillation", "binary")
"""The first of these that was run stands for the student."""
STROKES = {"full-precision": (True, 0.3, 0.0), "kurtosis": (False, 0.5, 2.6)}
"""Whether a histogram is filled, its opacity and width of line; a student's is a thin line."""
STATISTICS = (
    ("near_zero_share", "Weights within 10 % of zero, %", 100),
    ("binarization_error", "Binarization error", 1),
    ("teacher_distance", "Distance to the teacher's distribution", 1),
)


def histogram_cells(results: Results, network: str) -> list[Cell]:
    """First seed of teacher, kurtosis-tuned teacher and student, those that were run."""
    students = [cells[0] for row in STUDENTS if (cells := results.seeds(network, row))]
    teachers = [results.seeds(network, row)[:1] for row in ("full-precision", "kurtosis")]
    return [*teachers[0], *teachers[1], *students[:1]]


def weight_histograms(results: Results, network: str) -> Figure:
    """Standardised weights of each layer; the numbers are the kurtosis of each row."""
    cells = histogram_cells(results, network)
    names = [layer.name for layer in cells[0].details.layers]
    columns = 6
    figure, grid = panels(len(names), columns=columns, height=1.5)
    for index, (axes, name) in enumerate(zip(grid, names, strict=True)):
        for line, cell in enumerate(cells):
            edges = np.array(cell.details.histogram.edges)
            counts = np.array(cell.details.histogram.counts[name])
            density = counts / counts.sum() / np.diff(edges)
            filled, alpha, width = STROKES.get(cell.row.name, (False, 1.0, 1.1))
            axes.stairs(density, edges, color=cell.row.colour, fill=filled, alpha=alpha, lw=width)
            kurtosis = {layer.name: layer.kurtosis for layer in cell.details.layers}[name]
            axes.annotate(
                f"{kurtosis:.2f}",
                (1, 1 - 0.14 * line),
                xycoords="axes fraction",
                ha="right",
                va="top",
                color=cell.row.colour,
                fontsize=8,
            )
        axes.set_title(name, fontsize=8.5)
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.tick_params(labelbottom=index + columns >= len(names))
    legend(figure, (cell.row for cell in cells), marker=True)
    return figure


def kurtosis_by_layer(results: Results, network: str) -> Figure:
    """Kurtosis of each layer, mean over the seeds, against its target (black)."""
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    names = _draw_by_layer(axes, results, network, "kurtosis", 1)
    for means in layer_means(results, network):
        if means.target is not None:
            x = names.index(means.layer)
            axes.hlines(means.target, x - 0.42, x + 0.42, color="black", lw=1.5, zorder=1)
    _scale_kurtosis(axes)
    axes.set_ylabel("Kurtosis")
    legend(figure, (row for row, cells in results.rows(network) if cells), marker=True)
    return figure


def kurtosis_over_epochs(results: Results, network: str) -> Figure:
    """Kurtosis of every layer over the epochs, first seed of each row; early layers are dark."""
    shown = [cells[0] for _, cells in results.rows(network) if cells]
    figure, grid = panels(len(shown), columns=4, height=2.2)
    for axes, cell in zip(grid, shown, strict=True):
        names = list(dict.fromkeys(cell.kurtosis["layer"]))
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(names)))
        for name, colour in zip(names, colours, strict=True):
            layer = cell.kurtosis[cell.kurtosis["layer"] == name]
            axes.plot(layer["epoch"], layer["kurtosis"], color=colour, lw=1)
        for target in sorted(set(cell.kurtosis["target"].dropna())):
            axes.axhline(target, color="black", lw=1.2, linestyle="dashed")
        axes.set_title(cell.row.label, color=cell.row.colour)
        axes.set_xlabel("Epoch")
        _scale_kurtosis(axes)
    limits = np.array([axes.get_ylim() for axes in grid])
    for axes in grid:
        axes.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    return figure


def layer_statistics(results: Results, network: str) -> Figure:
    """Near-zero share, binarization error and teacher distance of each layer."""
    figure = Figure(figsize=(WIDTH, 7.5))
    grid = figure.subplots(len(STATISTICS), 1, sharex=True)
    for axes, (key, title, factor) in zip(grid, STATISTICS, strict=True):
        _draw_by_layer(axes, results, network, key, factor)
        axes.set_title(title)
        if key != "teacher_distance":
            axes.set_ylim(bottom=0)
        elif any(line.get_xdata().size for line in axes.lines):  # else nothing has a logarithm
            axes.set_yscale("log")
        axes.tick_params(labelbottom=axes is grid[-1])
    legend(figure, (row for row, cells in results.rows(network) if cells), marker=True)
    return figure


def _draw_by_layer(
    axes: Axes, results: Results, network: str, key: str, factor: float
) -> list[str]:
    """Draw one statistic of each layer, rows side by side; the layers from left to right."""
    found = layer_means(results, network)
    names = list(dict.fromkeys(means.layer for means in found))
    rows = list(dict.fromkeys(means.row for means in found))
    for place, row in enumerate(rows):
        shift = 0.7 * (place - (len(rows) - 1) / 2) / len(rows)
        points = [
            (names.index(means.layer) + shift, factor * value)
            for means in found
            if means.row == row and (value := getattr(means, key))
        ]
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, "o", color=row.colour, ms=4.5, mfc=row.colour if row.binary else "white")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    return names


def _scale_kurtosis(axes: Axes) -> None:
    """Logarithmic, from the least kurtosis there is, with numbers people look for."""
    axes.set_yscale("log")
    axes.set_ylim(0.95, max(3.3, axes.get_ylim()[1]))
    axes.yaxis.set_major_locator(FixedLocator([1, 1.4, 1.8, 3, 5, 10, 20, 50, 100, 200]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
