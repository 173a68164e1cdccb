"""The verdict on each claim of the paper, judged on the results of a table."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from pipeline.reporting.comparisons import Compared
from pipeline.reporting.estimates import common_seeds, differences, top1
from pipeline.reporting.parameters import epoch_counts, parameter
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import BINARY, COMPLETE, in_sentence, network_label, published_name
from pipeline.reporting.sources import PublishedFigure
from pipeline.reporting.tables import Table
from pipeline.reporting.verdicts import (
    LayerCount,
    Published,
    Verdict,
    judge_accuracy,
    judge_maps,
    judge_mimicking,
    judge_modes,
    judge_state_of_the_art,
)

MIMICKING_ROWS = (("binary-mimicking", "binary-distillation"), (COMPLETE, BINARY))
"""Pairs of a row with WDM and one without; the first pair that was run with the same teacher is
judged."""


def verdicts(
    results: Results, data: str, published: Sequence[PublishedFigure]
) -> dict[str, list[Verdict]]:
    """The verdict on every claim, for each network that has 1-bit rows.

    Args:
        results: Results of one table.
        data: Name of the data set.
        published: Figures of other methods.
    """
    return {
        network: _judged(results, network, f"{data}, {network_label(network)}", published)
        for network in results.networks
        if any(row.binary for row, _ in results.run_rows(network))
    }


def verdict_table(found: dict[str, list[Verdict]]) -> Table:
    """A line for each verdict; the network is named only if there are several."""
    lines = [each for of_network in found.values() for each in of_network]
    data = pd.DataFrame(
        [
            {
                "claim": each.claim.key,
                "text": each.claim.text,
                "source": each.claim.source,
                "measured": each.claim.measured,
                "rule": each.claim.rule,
                "threshold": each.claim.threshold,
                "measured_on": each.measured_on,
                "result": each.result,
                "outcome": each.outcome,
                "reason": each.reason,
            }
            for each in lines
        ]
    )
    shown = pd.DataFrame(
        [
            {
                "Claim of the paper": f"{each.claim.source.capitalize()}: {each.claim.text}",
                "Outcome": each.outcome,
                "Result": f"{each.measured_on}: {each.result}" if len(found) > 1 else each.result,
                "Why": each.reason,
                "Measured": each.claim.measured,
                "Rule": each.claim.rule,
            }
            for each in lines
        ]
    )
    return Table(data, shown)


def _judged(
    results: Results, network: str, on: str, published: Sequence[PublishedFigure]
) -> list[Verdict]:
    return [
        judge_modes(on, _modes(results, network)),
        _mimicking(results, network, on),
        judge_maps(on, *_blank_shares(results, network)),
        judge_accuracy(on, _complete_against_binary(results, network)),
        judge_state_of_the_art(
            on,
            top1(results, network, COMPLETE),
            min(epoch_counts(results.seeds(network, COMPLETE)), default=0),
            _rivals(results, network, published),
        ),
    ]


def _modes(results: Results, network: str) -> dict[str, list[LayerCount]]:
    students = results.seeds(network, COMPLETE)
    names = {student.details.teacher for student in students}
    teachers = [cell for cell in results.cells if cell.name in names]
    teachers.sort(key=lambda cell: cell.metrics.seed)
    return {"tuned teacher": layer_counts(teachers), "complete student": layer_counts(students)}


def layer_counts(cells: Sequence[Cell]) -> list[LayerCount]:
    """Counts of layers with two modes and of all layers under the kurtosis loss, for each cell."""
    return [
        LayerCount(
            sum(layer.two_modes for layer in cell.details.layers),
            len(cell.details.layers),
            fmean(layer.kurtosis for layer in cell.details.layers),
        )
        for cell in cells
    ]


def _mimicking(results: Results, network: str, on: str) -> Verdict:
    for row, without in MIMICKING_ROWS:
        pairs = [
            (cell.metrics.teacher_distance_relative, other.metrics.teacher_distance_relative)
            for cell, other in common_seeds(results, network, row, without)
            if cell.details.reference == other.details.reference
        ]
        known = [(a, b) for a, b in pairs if a and b]
        if known:
            compared = f"{in_sentence(row)} against {in_sentence(without)}"
            with_wdm, without_wdm = zip(*known, strict=True)
            return judge_mimicking(on, compared, with_wdm, without_wdm)
    return judge_mimicking(on, "", [], [])


def _blank_shares(results: Results, network: str) -> tuple[list[float], list[float]]:
    pairs = [
        (cell.metrics.blank_map_share, other.metrics.blank_map_share)
        for cell, other in common_seeds(results, network, COMPLETE, BINARY)
    ]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]


def _complete_against_binary(results: Results, network: str) -> Compared | None:
    """The complete method against binary alone, as a member of the family of all comparisons."""
    return next(
        (
            compared
            for comparison, compared in differences(results, network).items()
            if (comparison.row, comparison.against) == (COMPLETE, BINARY)
        ),
        None,
    )


def _rivals(
    results: Results, network: str, published: Sequence[PublishedFigure]
) -> list[Published]:
    """Published figures at the bits of the complete method; none if the data was used in part."""
    bits = {cell.bits for cell in results.seeds(network, COMPLETE)}
    if parameter(results, "data.limit") != "0":
        return []
    return [
        Published(figure.method, figure.top1, figure.epochs)
        for figure in published
        if (figure.dataset, figure.arch) == (results.published_dataset, published_name(network))
        and (figure.weight_bits, figure.activation_bits) in bits
        and figure.top1 is not None
    ]
