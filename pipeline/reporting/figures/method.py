"""The picture of the method: its stages, and what they make of the weights of one layer."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from pipeline.errors import UserError
from pipeline.reporting.figures.style import INK
from pipeline.reporting.figures.weights import density_of
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import COMPLETE, REAL, TUNED

SIZE = (5.0, 4.3)
COLUMNS = (0.16, 0.48, 0.8)
HALF_WIDTH, HALF_HEIGHT = 0.145, 0.062
EDGE = 0.985
TRAININGS = (
    (REAL, "teacher", "full precision"),
    (TUNED, "fine-tune", "+ kurtosis loss"),
    (COMPLETE, "binarize", "1 bit, all losses"),
)
"""Row, stage and what it adds; one column each."""
WEIGHTS = ("Weights", "Weights", "Latent weights")
FAINT = "#f3f5f7"
TOP, MIDDLE, BOTTOM = 0.92, 0.715, 0.075
"""Centres of the lines of stages, as shares of the height."""


def method(results: Results, network: str) -> Figure:
    """The stages in their order, and below each training the weights that it gives one layer.

    The layer is the one in the middle of the network, and the seed is the first. The histograms
    show weights divided by their standard deviation.

    Raises:
        UserError: the teacher, the tuned teacher or the complete student was not run.
    """
    figure = Figure(figsize=SIZE)
    figure.set_layout_engine("none")
    board = figure.add_axes((0, 0, 1, 1), xlim=(0, 1), ylim=(0, 1))
    board.set_axis_off()
    left, centre, right = COLUMNS
    _stage(board, left, TOP, "prepare", "images")
    _arrow(board, (left, TOP - HALF_HEIGHT), (left, MIDDLE + HALF_HEIGHT))
    for x, (_, name, adds) in zip(COLUMNS, TRAININGS, strict=True):
        _stage(board, x, MIDDLE, name, adds)
    _arrow(board, (left + HALF_WIDTH, MIDDLE), (centre - HALF_WIDTH, MIDDLE))
    _arrow(board, (centre + HALF_WIDTH, MIDDLE), (right - HALF_WIDTH, MIDDLE))
    _stage(board, right, BOTTOM, "evaluate", "test images")
    _stage(board, centre, BOTTOM, "report", "verdicts")
    board.plot([right + HALF_WIDTH, EDGE, EDGE], [MIDDLE, MIDDLE, BOTTOM], color=INK, lw=1.2)
    _arrow(board, (EDGE, BOTTOM), (right + HALF_WIDTH, BOTTOM))
    _arrow(board, (right - HALF_WIDTH, BOTTOM), (centre + HALF_WIDTH, BOTTOM))

    cells = [_first_seed(results, network, row) for row, _, _ in TRAININGS]
    layers = cells[-1].details.layers
    layer = layers[len(layers) // 2]
    seed = cells[-1].metrics.seed
    about = f"({layer.name}) after each training,\n{results.dataset}, seed {seed}"
    note = f"Below: the weights of one layer\n{about}"
    board.text(centre - HALF_WIDTH, TOP, note, va="center", fontsize=9.5, color=INK)
    for x, cell, label in zip(COLUMNS, cells, WEIGHTS, strict=True):
        axes = figure.add_axes((x - HALF_WIDTH, 0.28, 2 * HALF_WIDTH, 0.34))
        density, edges = density_of(cell.details.histogram, layer.name, layer.elements)
        axes.stairs(density, edges, fill=True, color=cell.row.colour)
        axes.set_xlim(-3, 3)
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{label} / std", fontsize=9.5, labelpad=2)
    return figure


def _first_seed(results: Results, network: str, row: str) -> Cell:
    cells = results.nearest(network, row)
    if not cells:
        raise UserError(f"results of {results.dataset}: row {row} of {network} was not run")
    return cells[0]


def _stage(board: Axes, x: float, y: float, name: str, adds: str) -> None:
    box = FancyBboxPatch(
        (x - HALF_WIDTH, y - HALF_HEIGHT),
        2 * HALF_WIDTH,
        2 * HALF_HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.02",
        facecolor=FAINT,
        edgecolor=INK,
        linewidth=1,
    )
    board.add_patch(box)
    board.text(x, y + 0.024, name, ha="center", va="center", fontsize=11, weight="bold", color=INK)
    board.text(x, y - 0.027, adds, ha="center", va="center", fontsize=9.5, color=INK)


def _arrow(board: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=11, shrinkA=0, shrinkB=0, color=INK, lw=1.2
    )
    board.add_patch(arrow)
