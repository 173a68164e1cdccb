"""Figures of accuracy and training: headline, curves, confusion."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.reporting.estimates import top1
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
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import published_name, row_named
from pipeline.reporting.sources import PublishedFigure

CURVES = (
    ("validation_top1", "Validation top-1, %", 100, "linear"),
    ("train_top1", "Training top-1, %", 100, "linear"),
    ("cross_entropy", "Cross-entropy", 1, "linear"),
    ("distillation", "Distillation loss", 1, "linear"),
    ("kurtosis", "Kurtosis loss (log scale)", 1, "log"),
    ("mimicking", "WDM loss (log scale)", 1, "log"),
    ("sign_flips", "Weights that change sign, %", 100, "linear"),
)
"""Column of the curves, title, factor, scale of the axis."""
MARKERS_PER_CURVE = 4
GREY = "#767676"
MOST_CLASSES = 20
"""With more classes, no cell of the confusion is labelled."""
LONGEST_NAME = 24
"""Characters of a class's name beside the confusion; the rest is cut."""


def headline(results: Results, network: str, published: Sequence[PublishedFigure]) -> Figure:
    """Test top-1 of every row: its seeds, and their mean with its interval.

    Published figures have a panel and an axis of their own, because their schedules differ.
    """
    rows = results.run_rows(network)
    about = (results.published_dataset, published_name(network))
    others = [f for f in published if (f.dataset, f.arch) == about and f.top1 is not None]
    heights = [0.5 * len(rows), 0.24 * len(others)]
    figure = Figure(figsize=(WIDTH, 1.3 + sum(heights) + bool(others)))
    grid = figure.subplots(
        1 + bool(others), 1, squeeze=False, height_ratios=[0.8 + h for h in heights if h]
    )
    confidence = f"{100 * results.evaluation['confidence']:g} %"
    _draw_rows(grid[0, 0], results, network, confidence)
    if others:
        _draw_published(grid[1, 0], others)
    handles = [
        handle("mean", color=INK, marker="|", ms=16, mew=3, linestyle="none"),
        handle(f"its {confidence} interval", color=INK, lw=7, alpha=0.35),
        handle("one seed, hollow at 32 bit", linestyle="none", ms=5, **marks(rows[0][0])),
    ]
    legend(figure, handles)
    return figure


def _draw_rows(axes: Axes, results: Results, network: str, confidence: str) -> None:
    rows = results.run_rows(network)
    place = ("axes fraction", "data")
    heading = f"mean, {confidence} interval"
    axes.annotate(heading, (1.01, -0.75), xycoords=place, va="center", color=GREY)
    images = len(rows[0][1][0].outcomes)
    for y, (row, cells) in enumerate(rows):
        estimate = top1(results, network, row.name)
        assert estimate is not None
        mean, low, high = (100 * each for each in (estimate.mean, estimate.low, estimate.high))
        axes.hlines([y], low, high, color=row.colour, lw=7, alpha=0.35)
        axes.plot([mean] * 2, [y - 0.32, y + 0.32], color=row.colour, lw=3)
        places = y + 0.5 * (np.arange(len(cells)) - (len(cells) - 1) / 2) / len(cells)
        seeds = [100 * cell.metrics.top1 for cell in cells]
        axes.plot(seeds, places, linestyle="none", ms=5, **marks(row))
        text = f"{mean:.2f} ({low:.2f} to {high:.2f})"
        axes.annotate(text, (1.01, y), xycoords=place, va="center", color=INK)
    axes.set_yticks(range(len(rows)), [row.label for row, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"Test top-1, %, of {images:,} images")


def _draw_published(axes: Axes, figures: Sequence[PublishedFigure]) -> None:
    ordered = sorted(figures, key=lambda figure: (-figure.weight_bits, -(figure.top1 or 0)))
    for y, figure in enumerate(ordered):
        face = "white" if figure.confidence == "secondary" else GREY
        axes.plot([figure.top1 or np.nan], [y], "o", color=GREY, mfc=face, ms=5.5)
        place = ("axes fraction", "data")
        axes.annotate(f"{figure.top1:.2f}", (1.01, y), xycoords=place, va="center", color=GREY)
    labels = [f"{each.method}, {each.weight_bits}/{each.activation_bits} bit" for each in ordered]
    axes.set_yticks(range(len(ordered)), labels, fontsize=8.5)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_title("Published (filled: the method's own page; hollow: another work's table)")
    axes.set_xlabel("Top-1, %, with schedules of their own")


def training_curves(results: Results, network: str) -> Figure:
    """Accuracy, loss terms and sign changes: lines are means, bands the range over the seeds.

    Epochs of fine-tuning are counted on from the training that it continues, and those of step two
    from step one. A ring marks the beginning of step two.
    """
    rows = results.run_rows(network)
    every = pd.concat([cell.curves for _, cells in rows for cell in cells])
    shown = [curve for curve in CURVES if every[curve[0]].notna().any()]
    figure, grid = panels(len(shown), columns=3, height=2.3)
    for axes, (column, title, factor, scale) in zip(grid, shown, strict=True):
        for place, (row, cells) in enumerate(rows):
            seeds = [_continued(results, network, cell)[column].dropna() for cell in cells]
            by_epoch = (factor * pd.concat(seeds)).groupby(level=0)
            mean = by_epoch.mean()
            every_nth = max(1, len(mean) // MARKERS_PER_CURVE)
            axes.plot(
                mean.index,
                mean,
                lw=1.6,
                ms=4.5,
                markevery=(place % every_nth, every_nth),
                **(stroke(row) | marks(row)),
            )
            if len(cells) > 1:
                axes.fill_between(
                    mean.index, by_epoch.min(), by_epoch.max(), color=row.colour, alpha=0.2, lw=0
                )
            turns = {len(cell.step_one) + 1 for cell in cells if cell.step_one is not None}
            for turn in turns & set(mean.index):
                axes.plot([turn], [mean[turn]], "o", ms=10, mfc="none", color=row.colour)
        if scale == "log" and every[column].min() > 0:
            log_scale(axes)
        axes.set_title(title.removesuffix(" (log scale)") if axes.get_yscale() != scale else title)
        whole_epochs(axes)
    legend(figure, [handle(row.label, **(stroke(row) | marks(row))) for row, _ in rows])
    return figure


def _continued(results: Results, network: str, cell: Cell) -> pd.DataFrame:
    """A cell's curves by epoch, counted on from those it continues."""
    before = 0
    if cell.row.continues:
        earlier = results.seeds(network, cell.row.continues)
        same_seed = [other for other in earlier if other.metrics.seed == cell.metrics.seed]
        before = max((int(other.curves["epoch"].max()) for other in same_seed), default=0)
    curves = cell.all_curves
    return curves.set_index(curves["epoch"] + before)


def confusion(results: Results, network: str, row: str, classes: Sequence[str]) -> Figure:
    """Test images by true and predicted class, of one row and as its difference to binary alone.

    Counts are means over the seeds. Only errors are coloured. The diagonal gives the number of
    images that were classified correctly.
    """
    mean = _mean_confusion(results, network, row)
    others = results.seeds(network, "binary") and row != "binary"
    count = len(results.seeds(network, row))
    over = f"mean of {count} seeds" if count > 1 else "one seed"
    label = f"{row_named(row).label}: images, {over}"
    shown = [(label, mean, "Oranges")]
    if others:
        difference = mean - _mean_confusion(results, network, "binary")
        shown.append((f"{row_named(row).label} minus binary alone", difference, "PuOr_r"))
    figure = Figure(figsize=(WIDTH, 4.9 if others else 6.5))
    grid = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, (title, counts, colours) in zip(grid, shown, strict=True):
        _draw_counts(axes, counts, colours, classes)
        axes.set_title(title, fontsize=9.5)
    grid[0].set_ylabel("True class")
    return figure


def confusion_numbers(
    results: Results, network: str, row: str, classes: Sequence[str]
) -> pd.DataFrame:
    """The counts above 0 that `confusion` draws: row, true and predicted class, mean images."""
    rows = [name for name in dict.fromkeys((row, "binary")) if results.seeds(network, name)]
    lines = [
        (name, classes[true], classes[predicted], counts[true, predicted])
        for name in rows
        for counts in [_mean_confusion(results, network, name)]
        for true, predicted in np.argwhere(counts > 0)
    ]
    return pd.DataFrame(lines, columns=["row", "true", "predicted", "images"])


def _mean_confusion(results: Results, network: str, row: str) -> np.ndarray:
    cells = results.seeds(network, row)
    return np.mean([cell.details.confusion for cell in cells], axis=0)


def _draw_counts(axes: Axes, counts: np.ndarray, colours: str, classes: Sequence[str]) -> None:
    errors = np.where(np.eye(len(classes), dtype=bool), np.nan, counts)
    signed = bool((counts < 0).any())
    limit = max(np.nanmax(np.abs(errors)), 1e-9) if len(classes) > 1 else 1.0
    drawn = axes.imshow(errors, cmap=colours, vmin=-limit if signed else 0, vmax=limit)
    axes.grid(visible=False)
    label = "Difference in errors, images" if signed else "Errors, images"
    axes.figure.colorbar(
        drawn, ax=axes, location="bottom", shrink=0.7, label=label, format="%g", pad=0.02
    )
    axes.set_xlabel("Predicted class")
    if len(classes) > MOST_CLASSES:
        return
    names = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in classes]
    slant = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(range(len(names)), names, rotation=slant)
    axes.set_yticks(range(len(names)), names)
    digits = 0 if (counts == counts.round()).all() else 1
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            strong = true != predicted and abs(count) > 0.6 * limit
            axes.annotate(
                f"{count:{'+' if signed else ''}.{digits}f}",
                (predicted, true),
                color="white" if strong else INK,
                fontsize=6.5,
                ha="center",
                va="center",
            )
