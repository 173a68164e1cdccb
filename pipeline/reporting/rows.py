"""The rows of the table: order, names and marks, and which differ by one thing."""

from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.names import NETWORKS


@dataclass(frozen=True)
class Row:
    """One way to train a network, and how figures show it."""

    name: str
    """Its name in the names of cells."""
    label: str
    colour: str
    """From the palettes of Okabe and Ito and of Paul Tol, which colour-blind readers can tell
    apart."""
    marker: str
    """Matplotlib's marker, which identifies the row as its colour does."""
    dash: tuple[float, ...]
    """Lengths of dashes and gaps, in line widths; empty for a solid line."""
    binary: bool
    continues: str | None = None
    """Row whose trained network this one is fine-tuned from."""


@dataclass(frozen=True)
class Comparison:
    """A row and the row it is measured against."""

    row: str
    against: str
    change: str
    """What `row` has and `against` lacks."""


REAL, CONTROL, TUNED = "full-precision", "fine-tuned", "kurtosis"
BINARY, COMPLETE = "binary", "complete"
ROWS = (
    Row(REAL, "Full precision", "#4d4d4d", "o", (5, 2), binary=False),
    Row(CONTROL, "Full precision, fine-tuned", "#999999", "<", (3, 2), False, continues=REAL),
    Row(TUNED, "Full precision, fine-tuned + kurtosis", "#0072b2", "s", (2, 1), False, REAL),
    Row(BINARY, "Binary alone", "#e69f00", "^", (3, 1), binary=True),
    Row("binary-kurtosis", "Binary + kurtosis", "#56b4e9", "v", (7, 1, 1, 1), binary=True),
    Row("binary-distillation", "Binary + distillation", "#cc79a7", "P", (4, 1), binary=True),
    Row("binary-mimicking", "Binary + distillation + WDM", "#009e73", "X", (1, 1), binary=True),
    Row("complete-untuned", "All losses, untuned teacher", "#882255", "p", (6, 1, 2, 1), True),
    Row(COMPLETE, "Complete (BD-BNN)", "#d55e00", "D", (), binary=True),
)

COMPARISONS = (
    Comparison(CONTROL, REAL, "more epochs of full precision"),
    Comparison(TUNED, CONTROL, "kurtosis loss in full precision"),
    Comparison("binary-kurtosis", BINARY, "kurtosis loss"),
    Comparison("binary-distillation", BINARY, "distillation"),
    Comparison("binary-mimicking", "binary-distillation", "weight distribution mimicking (WDM)"),
    Comparison("complete-untuned", "binary-mimicking", "kurtosis loss in the student"),
    Comparison(COMPLETE, "complete-untuned", "kurtosis loss in the teacher"),
    Comparison(COMPLETE, BINARY, "everything: the claim of the method"),
)
"""Each comparison but the last isolates one change."""


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


def in_sentence(row: str) -> str:
    """The label of the row of that name, inside a sentence."""
    label = row_named(row).label
    return label[0].lower() + label[1:]


def published_name(network: str) -> str:
    """The name of an architecture in published.csv, where the data set implies the stem."""
    return network.removeprefix("imagenet_").removeprefix("torchvision_")
