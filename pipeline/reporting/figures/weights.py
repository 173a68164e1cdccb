"""Figures of weights: histograms, kurtosis, and statistics of each layer."""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from pipeline.reporting.figures.style import (
    INK,
    WIDTH,
    handle,
    legend,
    log_scale,
    marks,
    panels,
    stroke,
    whole_epochs,
)
from pipeline.reporting.layers import layers_by_seed
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import row_named
from pipeline.reporting.schema import Histogram

UNTUNED = ("fine-tuned", "full-precision")
WITH_KURTOSIS = ("complete", "complete-untuned", "binary-kurtosis")
WITHOUT_KURTOSIS = ("binary", "binary-mimicking", "binary-distillation")
"""The first row of each that was run stands for the networks that are not tuned, for the students
with the kurtosis loss, and for those without it."""
STATISTICS = (
    ("near_zero_share", "Weights within\n10 % of zero, %", 100),
    ("binarization_error", "Binarization error", 1),
)
DISTANCE = "teacher_distance_relative"
KURTOSIS_TICKS = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 7, 10, 20, 50, 100, 200)
FILL = "#d9d9d9"
REFERENCE: dict[str, Any] = {"color": "#aaaaaa", "lw": 1.0}


def histogram_cells(results: Results, network: str) -> list[Cell]:
    """The first seed of up to four rows.

    These are the untuned and the tuned network, and a student without and one with the kurtosis
    loss.
    """
    candidates = (UNTUNED, ("kurtosis",), WITHOUT_KURTOSIS, WITH_KURTOSIS)
    found = (
        [cells[0] for row in rows if (cells := results.nearest(network, row))]
        for rows in candidates
    )
    return [cells[0] for cells in found if cells]


def weight_histograms(results: Results, network: str) -> Figure:
    """Standardized weights of each layer, beside a uniform and a two-point distribution."""
    cells = histogram_cells(results, network)
    layers = cells[-1].details.layers
    figure, grid = panels(len(layers), columns=4, height=1.55, shared=True)
    edge = 3**0.5
    for index, (axes, layer) in enumerate(zip(grid, layers, strict=True)):
        uniform = ([-edge, -edge, edge, edge], [0, 0.5 / edge, 0.5 / edge, 0])
        axes.plot(*uniform, linestyle=(0, (1, 1)), **REFERENCE)
        axes.vlines([-1, 1], 0, 0.62, **REFERENCE)
        for cell in cells:
            if layer.name not in cell.details.histogram.counts:
                continue  # a teacher of another network
            density, edges = density_of(cell.details.histogram, layer.name, layer.elements)
            if cell.row.name in UNTUNED:
                axes.stairs(density, edges, fill=True, color=FILL, zorder=1)
            else:
                axes.stairs(density, edges, zorder=2, **_outline(cell))
        axes.set_title(layer.name, fontsize=9)
        axes.set_xticks([-2, 0, 2])
        axes.grid(visible=False)
        if index % 4 == 0:
            axes.set_ylabel("Density", fontsize=9)
    figure.supxlabel("Weight / standard deviation of the layer", fontsize=10)
    handles = [
        handle(cell.row.label, color=FILL, lw=8)
        if cell.row.name in UNTUNED
        else handle(cell.row.label, **_outline(cell))
        for cell in cells
    ]
    handles += [
        handle("reference: uniform", linestyle=(0, (1, 1)), **REFERENCE),
        handle("reference: two points", marker="|", linestyle="none", ms=11, **REFERENCE),
    ]
    legend(figure, handles)
    return figure


def histogram_numbers(results: Results, network: str) -> pd.DataFrame:
    """The bins that `weight_histograms` draws: row, seed, layer, lower and upper edge, density."""
    lines = []
    for cell in histogram_cells(results, network):
        for layer in cell.details.layers:
            density, edges = density_of(cell.details.histogram, layer.name, layer.elements)
            bins = zip(edges[:-1], edges[1:], density, strict=True)
            about = (cell.row.name, cell.metrics.seed, layer.name)
            lines += [(*about, *each) for each in bins]
    return pd.DataFrame(lines, columns=["row", "seed", "layer", "low", "high", "density"])


def _outline(cell: Cell) -> dict[str, Any]:
    """A line for a student; a wide, faint one for the tuned teacher, as students' lie upon it."""
    if cell.row.binary:
        return {"lw": 1.3, **stroke(cell.row)}
    return {"lw": 3.5, "alpha": 0.4, "color": cell.row.colour}


def density_of(histogram: Histogram, layer: str, elements: int) -> tuple[np.ndarray, np.ndarray]:
    """Density and edges of a layer's histogram, without the outer bins, which hold all beyond.

    Small layers have fewer bins: two neighbours are joined in a layer of fewer than 100,000
    weights, and three in one of fewer than 10,000.
    """
    counts, edges = np.array(histogram.counts[layer]), np.array(histogram.edges)
    joined = 3 if elements < 10_000 else 2 if elements < 100_000 else 1
    if len(counts) % joined == 0:
        counts, edges = counts.reshape(-1, joined).sum(axis=1), edges[::joined]
    density = counts / counts.sum() / np.diff(edges)
    return density[1:-1], edges[1:-1]


def kurtosis_by_layer(results: Results, network: str) -> Figure:
    """Kurtosis of each layer, mean and range over the seeds, against its target (black)."""
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    found = layers_by_seed(results, network)
    names = _draw_by_layer(axes, found, "kurtosis", 1)
    targets = found.dropna(subset="target").drop_duplicates(["layer", "target"])
    x = targets["layer"].map(names.index).astype(float)
    axes.hlines(targets["target"], x - 0.45, x + 0.45, color="black", lw=1.5, zorder=1)
    log_scale(axes, KURTOSIS_TICKS)
    axes.set_ylabel("Kurtosis (log scale)")
    legend(figure, [*_mark_handles(found), handle("target", color="black", lw=1.5)])
    return figure


def kurtosis_over_epochs(results: Results, network: str) -> Figure:
    """Kurtosis of every layer over the epochs, first seed of each row; early layers are dark."""
    shown = [cells[0] for _, cells in results.run_rows(network)]
    figure, grid = panels(len(shown), columns=3, height=2.2, shared=True)
    names = list(dict.fromkeys(shown[0].kurtosis["layer"]))
    colours = matplotlib.colormaps["viridis"].resampled(len(names))
    for index, (axes, cell) in enumerate(zip(grid, shown, strict=True)):
        for name, layer in cell.kurtosis.groupby("layer", sort=False):
            place = names.index(name) if name in names else 0
            axes.plot(layer["epoch"], layer["kurtosis"], color=colours(place), lw=1.1)
        for target in sorted(set(cell.kurtosis["target"].dropna())):
            axes.axhline(target, color="black", lw=1.2, linestyle="dashed")
        axes.set_title(cell.row.label)
        if index >= len(shown) - 3:
            whole_epochs(axes)
        if index % 3 == 0:
            axes.set_ylabel("Kurtosis (log scale)")
    log_scale(grid[0], KURTOSIS_TICKS)
    norm = BoundaryNorm(np.arange(len(names) + 1) + 0.5, len(names))
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=figure.axes, shrink=0.7, pad=0.02)
    bar.ax.minorticks_off()
    bar.set_ticks([1, len(names)], labels=[f"first\n{names[0]}", f"last\n{names[-1]}"])
    legend(figure, [handle("target", color="black", lw=1.2, linestyle="dashed")])
    return figure


def layer_statistics(results: Results, network: str) -> Figure:
    """Near-zero share, binarization error and teacher distance of each layer."""
    found = layers_by_seed(results, network)
    figure = Figure(figsize=(WIDTH, 8.4))
    grid = figure.subplots(len(STATISTICS) + 1, 1, sharex=True)
    for axes, (key, title, factor) in zip(grid[:-1], STATISTICS, strict=True):
        _draw_by_layer(axes, found, key, factor)
        axes.set_ylabel(title)
    apart = found[found[DISTANCE] > 0]
    _draw_by_layer(grid[-1], apart, DISTANCE, 1, list(found["layer"].unique()))
    if len(apart):
        log_scale(grid[-1])
    grid[-1].set_ylabel("Squared distance to teacher\n/ teacher's variance (log scale)")
    for axes in grid[:-1]:
        axes.tick_params(labelbottom=False)
    legend(figure, _mark_handles(found))
    return figure


def _mark_handles(found: pd.DataFrame) -> list:
    return [
        handle(row_named(row).label, linestyle="none", **marks(row_named(row)))
        for row in found["row"].unique()
    ]


def _draw_by_layer(
    axes: Axes, found: pd.DataFrame, key: str, factor: float, names: list[str] | None = None
) -> list[str]:
    """Draw one statistic of each layer, with rows side by side, and return the layers' names.

    A line runs from the least to the greatest seed. Layers stand from left to right, and a common
    beginning of their names, such as layer1, is written once.
    """
    names = names or list(found["layer"].unique())
    rows = list(found["row"].unique())
    for place, row in enumerate(rows):
        by_layer = (factor * found[found["row"] == row].set_index("layer")[key]).dropna()
        grouped = by_layer.groupby(level=0, sort=False)
        shift = 0.7 * (place - (len(rows) - 1) / 2) / len(rows)
        x = [names.index(layer) + shift for layer in grouped.groups]
        axes.vlines(x, grouped.min(), grouped.max(), color=row_named(row).colour, lw=1.2)
        axes.plot(x, grouped.mean(), linestyle="none", ms=5, **marks(row_named(row)))
    stages = [name.partition(".")[0] for name in names]
    starts = [index for index, stage in enumerate(stages) if stage not in stages[:index]]
    nested = len(starts) < len(names)
    labels = [name.partition(".")[2] or name for name in names] if nested else names
    axes.set_xticks(range(len(names)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.grid(axis="x", visible=False)
    for start in starts if nested else []:
        if start:
            axes.axvline(start - 0.5, color="#cccccc", lw=0.8)
        axes.annotate(
            stages[start], (start - 0.4, 1.01), xycoords=("data", "axes fraction"), color=INK
        )
    return names
