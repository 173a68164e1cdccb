"""The rows of the table: order, names and marks, and which differ by one thing."""

from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.names import NETWORKS


@dataclass(frozen=True)
class Row:
    """One way to train a network, and how figures show it."""

    name: str
    """As in the names of cells."""
    label: str
    colour: str
    """From the palette of Okabe and Ito, which colour-blind readers can tell apart."""
    marker: str
    """Matplotlib's marker: the row's second code beside its colour."""
    dash: tuple[float, ...]
    """Lengths of dashes and gaps in line widths; empty: solid."""
    binary: bool
    continues: str | None = None
    """Row whose trained network this one is fine-tuned from."""


@dataclass(frozen=True)
class Comparison:
    """A row and the row it is measured against."""

    row: str
    against: str
    change: str
    """What `row` has and `against` has not."""


REAL = "full-precision"
ROWS = (
    Row(REAL, "Full precision", "#4d4d4d", "o", (5, 2), binary=False),
    Row("kurtosis", "Full precision + kurtosis", "#0072b2", "s", (2, 1), False, continues=REAL),
    Row("binary", "Binary alone", "#e69f00", "^", (3, 1), binary=True),
    Row("binary-kurtosis", "Binary + kurtosis", "#56b4e9", "v", (7, 1, 1, 1), binary=True),
    Row("binary-distillation", "Binary + distillation", "#cc79a7", "P", (4, 1), binary=True),
    Row("binary-mimicking", "Binary + distillation + WDM", "#009e73", "X", (1, 1), binary=True),
    Row("complete", "Complete (BD-BNN)", "#d55e00", "D", (), binary=True),
)

COMPARISONS = (
    Comparison("kurtosis", "full-precision", "kurtosis fine-tuning (extra epochs)"),
    Comparison("binary-kurtosis", "binary", "kurtosis loss"),
    Comparison("binary-distillation", "binary", "distillation"),
    Comparison("binary-mimicking", "binary-distillation", "weight distribution mimicking (WDM)"),
    Comparison("complete", "binary-mimicking", "kurtosis loss and the kurtosis-tuned teacher"),
    Comparison("complete", "binary", "all of it"),
)


def row_named(name: str) -> Row:
    """The row of that name.

    Raises:
        UserError: there is none.
    """
    for row in ROWS:
        if row.name == name:
            return row
    raise UserError(f"row {name!r} is unknown, allowed are {', '.join(r.name for r in ROWS)}")


def network_label(network: str) -> str:
    """The name people write, such as ResNet-20."""
    return NETWORKS.get(network, network)


def published_name(network: str) -> str:
    """What published.csv calls an architecture: there, the data set tells the stem."""
    return network.removeprefix("imagenet_").removeprefix("torchvision_")
