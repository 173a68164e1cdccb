"""What all figures share: style, marks of the rows, grids of small panels, legends, log scales."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pipeline.reporting.rows import Row

WIDTH = 9.0
"""Width in inches of a figure that fills the page."""
INK = "#333333"
FORBIDDEN = r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""Characters that XML does not allow."""
STYLE = Path(__file__).with_name("report.mplstyle")


def use_style() -> None:
    """Use the same style for all figures from now on, whatever the machine's matplotlibrc says."""
    matplotlib.style.use(["default", STYLE])


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, which does not name the version of matplotlib."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an SVG file with its letters as paths; equal figures give equal files.

    Characters that XML does not allow are replaced.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    content = buffer.getvalue()
    # matplotlib names a clip path after its address in memory
    for number, name in enumerate(dict.fromkeys(re.findall(r"url\(#(p\w{10})\)", content))):
        content = content.replace(name, f"clip{number}")
    return re.sub(FORBIDDEN, "\ufffd", content)


def panels(
    count: int, *, columns: int, height: float, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, `height` inches each, in rows of `columns`.

    Args:
        count: Number of panels.
        columns: Number of panels in a row.
        height: Height of a panel, in inches.
        shared: Whether all have the same axes, which are labelled at the left and below the last
            panel of a column.
    """
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH, 0.7 + height * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=shared, sharey=shared)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    for index in range(max(count - columns, 0), count):
        axes[index].tick_params(labelbottom=True)
    return figure, axes[:count]


def stroke(row: Row) -> dict[str, Any]:
    """Colour and dashes of a row's line."""
    return {"color": row.colour, "linestyle": (0, row.dash) if row.dash else "solid"}


def marks(row: Row) -> dict[str, Any]:
    """Colour and shape of a row's marks; those of 32-bit rows are hollow."""
    face = row.colour if row.binary else "white"
    return {"color": row.colour, "marker": row.marker, "markerfacecolor": face}


def handle(label: str, **look: Any) -> Artist:
    """An entry of a legend that looks like the lines drawn with `look`."""
    return Line2D([], [], label=label, **look)


def legend(figure: Figure, handles: Sequence[Artist], columns: int = 3) -> None:
    """Add one legend above all panels."""
    figure.legend(handles=list(handles), loc="outside upper left", ncols=columns, handlelength=3.2)


def whole_epochs(axes: Axes) -> None:
    """Label the x axis as epochs, at whole numbers."""
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def log_scale(axes: Axes, ticks: Sequence[float] | None = None) -> None:
    """Make the y axis logarithmic, with plain numbers at `ticks`, by default at 1, 2 and 5.

    Call it after everything is drawn, because it labels wide ranges at powers of ten only.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    places = ticks or [step * 10.0**decade for decade in decades for step in steps]
    axes.yaxis.set_major_locator(FixedLocator(list(places)))
    axes.yaxis.set_minor_locator(NullLocator())
    plain_numbers(axes.yaxis)


def plain_numbers(axis: Axis) -> None:
    """Label an axis with numbers such as 0.05 and 1e-06."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
