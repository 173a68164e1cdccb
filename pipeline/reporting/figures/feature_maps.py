"""The paper's figure: feature maps of one image at 32 and 1 bit, without and with kurtosis loss."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipeline.reporting.figures.style import INK, WIDTH
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import row_named

PANELS = (
    (("fine-tuned", "full-precision"), ("kurtosis",)),
    (("binary",), ("binary-kurtosis", "complete")),
)
"""The rows that may be shown in each panel, of which the first that was run is shown. Lines are 32
and 1 bit; columns are without and with the kurtosis loss."""
RARE_PERCENT = 1
"""A 1-bit map is blank if its rarer sign has less than this share of its pixels, in percent, as in
the evaluation."""
BLANK, GAP = "#d55e00", "#dfe6ee"
"""Colours of the frame of a blank map and of the space between maps."""


def feature_maps(results: Results, network: str) -> Figure:
    """Input of the second regularized convolution for one test image, at the first seed.

    At 32 bit, black is negative and white is positive. At 1 bit, black is -1 and white is +1, and
    blank maps have a frame.
    """
    figure = Figure(figsize=(WIDTH, 7.6))
    grid = figure.add_gridspec(2, 3, width_ratios=(0.4, 1, 1))
    image = None
    for line, candidates in enumerate(PANELS):
        for column, rows in enumerate(candidates, start=1):
            axes = figure.add_subplot(grid[line, column])
            axes.set_axis_off()
            cells = [found[0] for row in rows if (found := results.nearest(network, row))]
            if cells:
                _draw_mosaic(axes, cells[0])
                image = cells[0].feature_maps["image"]
            else:
                axes.set_title(f"{row_named(rows[0]).label}: not run")
    axes = figure.add_subplot(grid[:, 0])
    axes.set_axis_off()
    if image is not None:
        axes.imshow(image.transpose(1, 2, 0), cmap="gray", interpolation="nearest")
        axes.set_title("Test image")
    return figure


def _draw_mosaic(axes: Axes, cell: Cell) -> None:
    binary = cell.feature_maps.get("binary_maps")
    maps = cell.feature_maps["maps"] if binary is None else binary
    columns = int(np.ceil(len(maps) ** 0.5))
    lines = -(-len(maps) // columns)
    count, height, width = maps.shape
    tiles = np.full((lines * columns, height + 1, width + 1), np.nan)
    tiles[:count, :-1, :-1] = maps
    mosaic = tiles.reshape(lines, columns, height + 1, width + 1).swapaxes(1, 2)
    limit = max(float(np.quantile(np.abs(maps), 0.99)), 1e-6)
    axes.imshow(
        mosaic.reshape(lines * (height + 1), columns * (width + 1))[:-1, :-1],
        cmap=matplotlib.colormaps["gray"].with_extremes(bad=GAP),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    if binary is None:
        axes.set_title(
            f"32 bit: {cell.row.label}\nblack -{limit:.2g}, white +{limit:.2g}", color=INK
        )
        return
    blank = is_blank(binary)
    for index in np.flatnonzero(blank):
        corner = (
            index % columns * (width + 1) - 0.5,
            index // columns * (height + 1) - 0.5,
        )
        frame = Rectangle(corner, width, height, fill=False, edgecolor=BLANK, linewidth=2.5)
        axes.add_patch(frame)
    axes.set_title(f"1 bit: {cell.row.label}\n{blank.sum()} of {count} blank", color=INK)


def is_blank(maps: np.ndarray) -> np.ndarray:
    """Whether each of the maps (N, H, W) of +1 and -1 is blank, bool (N,)."""
    positive = (maps > 0).mean(axis=(1, 2))
    return 100 * np.minimum(positive, 1 - positive) < RARE_PERCENT
