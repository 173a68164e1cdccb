"""What all figures share: style, grids of small panels, legends."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.reporting.rows import Row

WIDTH = 11.0
"""Of a figure that fills the page, in inches."""
INK = "#333333"
STYLE = Path(__file__).with_name("report.mplstyle")


def use_style() -> None:
    """Draw every figure after this call alike, whatever the machine's matplotlibrc says."""
    matplotlib.style.use(["default", STYLE])


def panels(count: int, *, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, `height` inches each, in rows of `columns`."""
    lines = -(-count // columns)
    figure = Figure(figsize=(WIDTH, 0.5 + height * lines))
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def dash(row: Row) -> Literal["solid", "dashed"]:
    """Line style of a row."""
    return "solid" if row.binary else "dashed"


def legend(figure: Figure, rows: Iterable[Row], *, marker: bool = False) -> None:
    """One legend of rows above all panels: lines as in `dash`, or markers."""
    handles = [
        Line2D(
            [],
            [],
            color=row.colour,
            label=row.label,
            linestyle="none" if marker else dash(row),
            linewidth=2.5,
            marker="o" if marker else "",
        )
        for row in rows
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
