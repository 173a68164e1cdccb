"""The report's sentences: the results in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.claims import layer_counts
from pipeline.reporting.comparisons import Compared, Estimate
from pipeline.reporting.estimates import differences, in_words, top1
from pipeline.reporting.parameters import epochs, parameter
from pipeline.reporting.results import Results
from pipeline.reporting.rows import (
    BINARY,
    COMPARISONS,
    COMPLETE,
    REAL,
    ROWS,
    in_sentence,
    network_label,
    row_named,
)
from pipeline.reporting.statistics import reach

CARDS = (REAL, BINARY, COMPLETE)


@dataclass(frozen=True)
class Card:
    """The figure of one row, shown large."""

    label: str
    colour: str
    figure: str
    under: str


def cards(results: Results, network: str) -> list[Card]:
    """The main figures of a network: mean test top-1 and its interval, one card for each row."""
    found = []
    for row in (row_named(name) for name in CARDS):
        cells = results.nearest(network, row.name)
        measured = cells[0].metrics.network if cells else network
        mean = top1(results, measured, row.name)
        label = row.label if measured == network else f"{row.label}, {network_label(measured)}"
        figure, under = "not run", ""
        if mean:
            weights, activations = cells[0].bits
            figure = f"{100 * mean.mean:.2f} %"
            under = (
                f"test top-1, {_interval(mean)}; weights {weights} bit, activations "
                f"{activations} bit"
            )
        found.append(Card(label, row.colour, figure, under))
    return found


def conclusion(results: Results, network: str) -> str:
    """Top-1 of the last row that was run, and its comparisons with other rows, with intervals."""
    row = last_row(results, network)
    mean = top1(results, network, row)
    assert mean is not None
    sentences = [
        f"{network_label(network)}: {in_sentence(row)} reaches {100 * mean.mean:.2f} % test top-1 "
        f"({_interval(mean)})."
    ]
    for comparison, compared in differences(results, network).items():
        if comparison.row == row:
            sentences.append(_difference(comparison.against, compared))
    metrics = results.seeds(network, row)[0].metrics
    smaller = 32 * metrics.parameters / metrics.bits
    if smaller > 1:
        sentences.append(
            f"Counted in bits, it takes 1/{smaller:.1f} of the space of 32-bit weights."
        )
    return " ".join(sentences)


def _difference(against: str, compared: Compared) -> str:
    after = compared.holm_estimate
    level = f"{100 * compared.estimate.confidence:g} % interval"
    return (
        f'Against "{in_sentence(against)}" that is {100 * after.mean:+z.2f} points ({level} '
        f"after Holm's correction {100 * after.low:+z.2f} to {100 * after.high:+z.2f}): "
        f"{in_words(compared)}."
    )


def _interval(mean: Estimate) -> str:
    over = f"{mean.seeds} seeds and the test images" if mean.seeds > 1 else "test images, one seed"
    return (
        f"{100 * mean.confidence:g} % interval {100 * mean.low:.2f} to {100 * mean.high:.2f} over "
        f"{over}"
    )


def last_row(results: Results, network: str) -> str:
    """The last row of the table that was run: the complete method, if it was."""
    return results.run_rows(network)[-1][0].name


def beside_published(results: Results, network: str) -> str:
    """An explanation of the table of published figures, with the epochs of our trainings."""
    ours = [cell for row in ("complete", "full-precision") for cell in results.seeds(network, row)]
    trained = f" Ours: {epochs(ours)}." if ours else ""
    return (
        "Published for this data set and network, best first. Networks with 1-bit weights stand "
        "beside our complete method, those with 32 bits beside our full-precision network."
        f"{trained} The difference is given where both had the same number of epochs. A dash "
        "stands for what the source does not tell, or what is not compared."
    )


def not_compared(results: Results, network: str) -> str:
    """The comparisons that lack a row; empty if none does."""
    compared = differences(results, network)
    missing = [
        f"{in_sentence(each.row)} against {in_sentence(each.against)}"
        for each in COMPARISONS
        if each not in compared
    ]
    return f"Not run: {'; '.join(missing)}." if missing else ""


def steps(results: Results, network: str) -> str:
    """Epochs of each binary row, and the distillers, if any row has two steps; else empty."""
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
    listed = "; ".join(f"{label} {count}" for label, count in counted.items())
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
    named = in_sentence(row) if row in {each.name for each in ROWS} else row
    return f"{network_label(network)}, {named}"


def loss_scale(results: Results) -> str:
    """Why the distillation loss is as large as it is; empty where nothing is distilled."""
    temperature = parameter(results, "distillation.temperature")
    if not any("distillation" in cell.details.losses for cell in results.cells):
        return ""
    return (
        "The distillation loss includes the factor T squared that keeps its gradient's size; the "
        f"temperature T is {temperature}."
    )


def two_modes(results: Results, network: str) -> str:
    """Layers with two modes of each row, as the least and the greatest number of any seed."""
    found = []
    for row, cells in results.run_rows(network):
        counts = layer_counts(cells)
        modes = reach([count.two_modes for count in counts])
        found.append(f"{row.label} {modes} of {reach([count.layers for count in counts])}")
    return f"Layers with two modes at each seed: {'; '.join(found)}."


def confusions(results: Results, network: str, row: str, classes: Sequence[str]) -> str:
    """The number of errors of a row, and the most frequent ones."""
    cells = results.seeds(network, row)
    counts = np.sum([cell.details.confusion for cell in cells], axis=0)
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    pairs = [divmod(int(place), len(classes)) for place in order if wrong.flat[place]]
    listed = ", ".join(f"{classes[t]} taken for {classes[p]} ({wrong[t, p]})" for t, p in pairs)
    sentence = f"{row_named(row).label}: {wrong.sum():,} of {counts.sum():,} wrong, over all seeds"
    return f"{sentence}. Most often: {listed}." if listed else f"{sentence}."
