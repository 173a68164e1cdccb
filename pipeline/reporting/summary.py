"""The report's sentences: what came out, in words."""

import numpy as np

from pipeline.reporting.figures.feature_maps import blank_maps
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import ROWS, network_label, row_named
from pipeline.reporting.statistics import Summary, summarize, verdict
from pipeline.reporting.tables import bits, paired, spread

CARDS = ("full-precision", "binary", "complete")


def cards(results: Results, network: str) -> str:
    """HTML with the best figures of a network, one card for each of three rows."""
    content = ""
    for row in (row_named(name) for name in CARDS):
        cells = results.seeds(network, row.name)
        top1 = _top1(cells)
        figure = "not run" if top1 is None else f"{spread(top1)} %"
        under = f"test top-1, {_seeds(top1)}" if top1 else ""
        if cells:
            weights, activations = bits(cells[0])
            under += f"; weights {weights} bit, activations {activations} bit"
        content += (
            f'<div class="card" style="border-top-color: {row.colour}"><span>{row.label}</span>'
            f"<b>{figure}</b><span>{under}</span></div>"
        )
    return f'<div class="cards">{content}</div>'


def conclusion(results: Results, network: str) -> str:
    """Markdown: the complete method, or the last row run, against what it starts from."""
    row = last_row(results, network)
    sentences = [f"**{network_label(network)}.**"]
    top1 = _top1(results.seeds(network, row))
    assert top1 is not None
    sentences.append(f"{row_named(row).label}: {spread(top1)} % test top-1 ({_seeds(top1)}).")
    for against in ("full-precision", "binary"):
        difference = paired(results, network, row, against)
        if row != against and difference is not None:
            sentences.append(
                f"Against {row_named(against).label.lower()}: {difference.mean:+z.2f} points, "
                f"{verdict(difference)}."
            )
    metrics = results.seeds(network, row)[0].metrics
    sentences.append(f"Compression: {32 * metrics.parameters / metrics.bits:.1f} x.")
    return " ".join(sentences)


def last_row(results: Results, network: str) -> str:
    """The last row of the table that was run: the complete method, if it was."""
    return [row.name for row, cells in results.rows(network) if cells][-1]


def steps(results: Results, network: str) -> str:
    """Markdown: epochs of each binary row and distillers, if any has two steps; else empty."""
    epochs: dict[str, str] = {}
    distillers: set[str] = set()
    two = False
    for row, cells in results.rows(network):
        for cell in cells if row.binary else ():
            epochs[row.label] = f"{len(cell.curves)}"
            if cell.details.distiller is not None:
                distillers.add(network_label(cell.details.distiller.partition("-")[0]))
            if cell.step_one is not None:
                two = True
                epochs[row.label] = f"{len(cell.step_one)} + {len(cell.curves)}"
    if not two:
        return ""
    listed = ", ".join(f"{label} {counted}" for label, counted in epochs.items())
    text = (
        "Two steps: binary activations with real weights first, then both binary, started from the "
        f"last weights of step one. Dotted: where step two begins. Epochs: {listed}."
    )
    if distillers:
        text += f" Logits are distilled from {', '.join(sorted(distillers))}."
    return text


def kurtosis_distances(results: Results, network: str) -> str:
    """Markdown: mean distance of kurtosis to target of each row that has one."""
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
    """Markdown: how many 1-bit maps of the image carry nothing, for each row and seed."""
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


def confusions(results: Results, network: str, row: str) -> str:
    """Markdown: errors of a row, and the most frequent ones."""
    cells = results.seeds(network, row)
    counts = np.sum([cell.details.confusion for cell in cells], axis=0)
    classes = cells[0].details.classes
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
