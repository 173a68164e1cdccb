"""The rows of the table: their order, names and colours, and which differ by one thing."""

from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.names import NETWORKS


@dataclass(frozen=True)
class Row:
    """One way to train a network."""

    name: str
    """As in the names of cells."""
    label: str
    colour: str
    """Of Okabe and Ito's palette, which colour-blind readers can tell apart."""
    binary: bool


@dataclass(frozen=True)
class Comparison:
    """A row and the row it is measured against."""

    row: str
    against: str
    change: str
    """What `row` has and `against` has not."""


ROWS = (
    Row("full-precision", "Full precision", "#4d4d4d", binary=False),
    Row("kurtosis", "Full precision + kurtosis", "#0072b2", binary=False),
    Row("binary", "Binary alone", "#e69f00", binary=True),
    Row("binary-kurtosis", "Binary + kurtosis", "#56b4e9", binary=True),
    Row("binary-distillation", "Binary + distillation", "#cc79a7", binary=True),
    Row("binary-mimicking", "Binary + distillation + WDM", "#009e73", binary=True),
    Row("complete", "Complete (BD-BNN)", "#d55e00", binary=True),
)

COMPARISONS = (
    Comparison("kurtosis", "full-precision", "kurtosis loss, in epochs of fine-tuning on top"),
    Comparison("binary-kurtosis", "binary", "kurtosis loss"),
    Comparison("binary-distillation", "binary", "distillation"),
    Comparison("binary-mimicking", "binary-distillation", "weight distribution mimicking (WDM)"),
    Comparison("complete", "binary-mimicking", "kurtosis loss, and the kurtosis-tuned teacher"),
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
