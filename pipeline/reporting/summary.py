"""The report's sentences: what came out, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.figures.feature_maps import blank_maps
from pipeline.reporting.parameters import epochs, parameter
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import COMPARISONS, ROWS, network_label, row_named
from pipeline.reporting.statistics import Summary, spread, summarize, verdict

CARDS = ("full-precision", "binary", "complete")


@dataclass(frozen=True)
class Card:
    """The figure of one row, large."""

    label: str
    colour: str
    figure: str
    under: str


def cards(results: Results, network: str) -> list[Card]:
    """The best figures of a network, one card for each of three rows."""
    found = []
    for row in (row_named(name) for name in CARDS):
        cells = results.seeds(network, row.name)
        top1 = _top1(cells)
        figure, under = spread(top1), ""
        if top1:
            weights, activations = cells[0].bits
            figure += " %"
            under = (
                f"test top-1, {_seeds(top1)}; weights {weights} bit, activations {activations} bit"
            )
        found.append(Card(row.label, row.colour, figure, under))
    return found


def conclusion(results: Results, network: str) -> str:
    """The complete method, or the last row run, against what it starts from."""
    row = last_row(results, network)
    top1 = _top1(results.seeds(network, row))
    assert top1 is not None
    sentences = [
        f"{network_label(network)}, {row_named(row).label}: {spread(top1)} % test top-1 "
        f"({_seeds(top1)})."
    ]
    for against in ("full-precision", "binary"):
        difference = results.paired(network, row, against)
        if row != against and difference is not None:
            sentences.append(
                f"Against {_in_sentence(against)}: {difference.mean:+z.2f} points, "
                f"{verdict(difference)}."
            )
    metrics = results.seeds(network, row)[0].metrics
    sentences.append(f"Compression: {32 * metrics.parameters / metrics.bits:.1f} x.")
    return " ".join(sentences)


def last_row(results: Results, network: str) -> str:
    """The last row of the table that was run: the complete method, if it was."""
    return results.run_rows(network)[-1][0].name


def beside_published(results: Results, network: str) -> str:
    """What our figures in the table of published ones are, and how long they were trained."""
    ours = [cell for row in ("complete", "full-precision") for cell in results.seeds(network, row)]
    trained = f" Ours: {epochs(ours)}." if ours else ""
    return (
        "Published for this data set and network, best first. Ours is the complete method against "
        f"1 bit and full precision against 32.{trained} The difference is given where both had "
        "the same number of epochs."
    )


def not_compared(results: Results, network: str) -> str:
    """The comparisons that lack a row; empty if none does."""
    missing = [
        f"{row_named(c.row).label} against {_in_sentence(c.against)}"
        for c in COMPARISONS
        if results.paired(network, c.row, c.against) is None
    ]
    return f"Not run: {'; '.join(missing)}." if missing else ""


def steps(results: Results, network: str) -> str:
    """Epochs of each binary row and distillers, if any has two steps; else empty."""
    counted: dict[str, str] = {}
    distillers: set[str] = set()
    two = False
    for row, cells in results.rows(network):
        for cell in cells if row.binary else ():
            counted[row.label] = f"{len(cell.curves)}"
            if cell.details.distiller is not None:
                distillers.add(_network_and_row(cell.details.distiller))
            if cell.step_one is not None:
                two = True
                counted[row.label] = f"{len(cell.step_one)} + {len(cell.curves)}"
    if not two:
        return ""
    listed = ", ".join(f"{label} {count}" for label, count in counted.items())
    text = (
        "The student is trained in two steps: binary activations with real weights first, then "
        "both binary, started from the last weights of step one. An open ring marks the first "
        f"epoch of step two. Epochs: {listed}."
    )
    if not distillers:
        return text
    return f"{text} Logits are distilled from {', '.join(sorted(distillers))}."


def _network_and_row(cell: str) -> str:
    network, _, rest = cell.partition("-")
    row = rest.rpartition("-")[0]
    named = _in_sentence(row) if row in {each.name for each in ROWS} else row
    return f"{network_label(network)}, {named}"


def _in_sentence(row: str) -> str:
    label = row_named(row).label
    return label[0].lower() + label[1:]


def loss_scale(results: Results) -> str:
    """Why the distillation loss is as large as it is; empty where nothing is distilled."""
    temperature = parameter(results, "distillation.temperature")
    if not any("distillation" in cell.details.losses for cell in results.cells):
        return ""
    return (
        "The distillation loss includes the factor T squared that keeps its gradient's size; the "
        f"temperature T is {temperature}."
    )


def kurtosis_distances(results: Results, network: str) -> str:
    """Mean distance of kurtosis to target of each row that has one."""
    found = []
    for row, cells in results.rows(network):
        distances = [cell.metrics.kurtosis_distance for cell in cells]
        summary = summarize([distance for distance in distances if distance is not None])
        if summary:
            found.append(f"{row.label} {summary.mean:.3f}")
    if not found:
        return "No row that was run has a kurtosis target."
    return f"Mean distance of a layer's kurtosis to its target: {', '.join(found)}."


def blank_counts(results: Results, network: str) -> str:
    """How many 1-bit maps of the image carry nothing, for each row and seed."""
    found = []
    for row in ROWS:
        counts = [blank_maps(cell) for cell in results.seeds(network, row.name)]
        known = [count for count in counts if count is not None]
        if known:
            blank = ", ".join(str(blank) for blank, _ in known)
            found.append(f"{row.label} {blank} of {known[0][1]}")
    if not found:
        return "No row that was run has binary activations."
    return f"Blank 1-bit maps (all of one sign), for each seed: {'; '.join(found)}."


def confusions(results: Results, network: str, row: str, classes: Sequence[str]) -> str:
    """Errors of a row, and the most frequent ones."""
    cells = results.seeds(network, row)
    counts = np.sum([cell.details.confusion for cell in cells], axis=0)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    listed = ", ".join(f"{classes[t]} taken for {classes[p]} ({wrong[t, p]})" for t, p in pairs)
    sentence = f"{row_named(row).label}: {wrong.sum():,} of {counts.sum():,} wrong, over all seeds"
    return f"{sentence}. Most often: {listed}." if listed else f"{sentence}."


def _top1(cells: list[Cell]) -> Summary | None:
    return summarize([100 * cell.metrics.top1 for cell in cells])


def _seeds(top1: Summary) -> str:
    if top1.count == 1:
        return "single seed"
    return f"mean ± standard deviation of {top1.count} seeds"
