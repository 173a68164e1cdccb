"""Figures of accuracy and training: headline, curves, confusion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from pipeline.reporting.figures.style import INK, WIDTH, dash, legend, panels
from pipeline.reporting.results import Results
from pipeline.reporting.rows import published_name
from pipeline.reporting.sources import PublishedFigure

CURVES = (
    ("validation_top1", "Validation top-1, %", 100, "linear"),
    ("train_top1", "Training top-1, %", 100, "linear"),
    ("cross_entropy", "Cross-entropy", 1, "linear"),
    ("distillation", "Distillation loss", 1, "linear"),
    ("kurtosis", "Kurtosis loss", 1, "log"),
    ("mimicking", "Mimicking loss (WDM)", 1, "log"),
    ("sign_flips", "Binary weights that change sign, %", 100, "linear"),
    ("learning_rate", "Learning rate", 1, "linear"),
)
"""Column of the curves, title, factor, scale of the axis."""


def headline(results: Results, network: str, published: Sequence[PublishedFigure]) -> Figure:
    """Test top-1 of every row: a dot per seed, a bar at the mean; published figures in grey."""
    lines = [(row, cells) for row, cells in results.rows(network) if cells]
    beside: dict[int, list[float]] = {}
    for line in published:
        about = (line.dataset, line.arch) == (results.dataset, published_name(network))
        if about and line.top1 is not None:
            beside.setdefault(line.weight_bits, []).append(line.top1)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.38 * (len(lines) + len(beside))))
    axes = figure.subplots()
    for y, (row, cells) in enumerate(lines):
        values = np.array([100 * cell.metrics.top1 for cell in cells])
        axes.plot(values, np.full(len(values), y), "o", color=row.colour, ms=8, alpha=0.5, mew=0)
        axes.plot([values.mean()] * 2, [y - 0.32, y + 0.32], color=row.colour, lw=3)
        text = f"{values.mean():.2f}"
        if len(values) > 1:
            text += f" ± {values.std(ddof=1):.2f}"
        place = ("axes fraction", "data")
        axes.annotate(text, (1.01, y), xycoords=place, va="center", color=INK)
    for y, figures in enumerate(beside.values(), start=len(lines)):
        axes.plot(figures, np.full(len(figures), y), "o", color="#888888", mfc="none", ms=6)
    labels = [row.label for row, _ in lines]
    labels += [f"Published, {bits} bit ({len(figures)})" for bits, figures in beside.items()]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.08)
    axes.set_xlabel("Test top-1, %      dot: one seed      bar: mean of the seeds")
    return figure


def training_curves(results: Results, network: str) -> Figure:
    """Accuracy, loss terms, sign flips and learning rate: thick the mean, thin each seed.

    The epochs of two steps follow each other; a dotted line is where the second begins.
    """
    lines = [(row, cells) for row, cells in results.rows(network) if cells]
    every = pd.concat([cell.all_curves for _, cells in lines for cell in cells])
    turns = {len(c.step_one) for _, cells in lines for c in cells if c.step_one is not None}
    shown = [curve for curve in CURVES if every[curve[0]].notna().any()]
    figure, grid = panels(len(shown), columns=4, height=2.3)
    for axes, (column, title, factor, scale) in zip(grid, shown, strict=True):
        for row, cells in lines:
            seeds = [cell.all_curves.set_index("epoch")[column].dropna() for cell in cells]
            for seed in seeds:
                axes.plot(seed.index, factor * seed, color=row.colour, lw=0.6, alpha=0.5)
            mean = factor * pd.concat(seeds).groupby(level=0).mean()
            axes.plot(mean.index, mean, color=row.colour, lw=1.8, linestyle=dash(row))
        for turn in turns:
            axes.axvline(turn + 0.5, color=INK, lw=0.8, linestyle="dotted")
        axes.set_yscale(scale if every[column].min() > 0 else "linear")
        if column.endswith("top1"):
            _magnify_top(axes)
        axes.set_title(title)
        axes.set_xlabel("Epoch")
    legend(figure, (row for row, _ in lines))
    return figure


def _magnify_top(axes: Axes) -> None:
    """Spread what is near 100 %: the distance to 100 is drawn as its square root."""
    axes.set_yscale(
        "function",
        functions=(
            lambda y: 10 - np.sqrt(np.clip(100 - y, 0, None)),
            lambda z: 100 - (10 - z) ** 2,
        ),
    )
    axes.set_ylim(top=100)


def confusion(results: Results, network: str, row: str) -> Figure:
    """Test images by true and predicted class, summed over the seeds of one row."""
    cells = results.seeds(network, row)
    counts = np.sum([cell.details.confusion for cell in cells], axis=0)
    classes = cells[0].details.classes
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7.0, 6.0))
    axes = figure.subplots()
    drawn = axes.imshow(100 * share, cmap="Blues", norm=PowerNorm(0.4, 0, 100))
    axes.grid(visible=False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, label="Share of the true class, %")
    bar.set_ticks([0, 1, 5, 20, 50, 100])
    if len(classes) <= 20:
        slant = 45 if max(map(len, classes)) > 2 else 0
        axes.set_xticks(range(len(classes)), classes, rotation=slant)
        axes.set_yticks(range(len(classes)), classes)
        for (true, predicted), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[true, predicted] > 0.3 else INK
                axes.annotate(
                    str(count),
                    (predicted, true),
                    color=colour,
                    fontsize=8,
                    ha="center",
                    va="center",
                )
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    return figure
