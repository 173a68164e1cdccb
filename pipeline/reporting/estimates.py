"""Top-1 of each row and differences between rows, with their intervals."""

from typing import Any

import numpy as np

from pipeline.reporting.comparisons import Compared, Estimate, compare_family, row_mean
from pipeline.reporting.results import Cell, Results
from pipeline.reporting.rows import COMPARISONS, Comparison, network_label
from pipeline.reporting.verdicts import SEEDS_NEEDED

DRAWS_SEED = 0
LEAST_DRAWS = 20_000
"""With so many draws, 63 of them lie beyond a bound that Holm corrects for eight comparisons. On
the study, such a bound then varies by 0.05 points (standard deviation) with the seed of the draws;
with 1,000 draws it varies by 0.13."""


def top1(results: Results, network: str, row: str) -> Estimate | None:
    """Mean test top-1 of a row as a share, with its interval; None if it was not run."""
    cells = results.seeds(network, row)
    if not cells:
        return None
    return row_mean(np.stack([cell.outcomes for cell in cells]), **draws(results))


def differences(results: Results, network: str) -> dict[Comparison, Compared]:
    """The comparisons whose rows were both run, as one family, in shares of top-1."""
    pairs = {}
    for each in COMPARISONS:
        cells = common_seeds(results, network, each.row, each.against)
        if cells:
            pairs[each] = (
                np.stack([cell.outcomes for cell, _ in cells]),
                np.stack([other.outcomes for _, other in cells]),
            )
    family = f"the comparisons of {network_label(network)}"
    return compare_family(family, pairs, **draws(results))


def in_words(compared: Compared) -> str:
    """Whether a difference stands out after Holm's correction, by interval and p-value alike.

    For one seed the two may disagree near the bound, as the interval does not invert the test.
    """
    after, words = compared.holm_estimate, "no difference shown"
    if compared.holm_p_value < 1 - compared.estimate.confidence and after.low * after.high > 0:
        words = "higher" if after.mean > 0 else "lower"
    seeds = compared.estimate.seeds
    if seeds >= SEEDS_NEEDED:
        return words
    return f"{words}; {'one seed is' if seeds == 1 else f'{seeds} seeds are'} too few"


def common_seeds(results: Results, network: str, row: str, against: str) -> list[tuple[Cell, Cell]]:
    """The cells of both rows at the seeds that both have, seed by seed."""
    other = {cell.metrics.seed: cell for cell in results.seeds(network, against)}
    return [
        (cell, other[cell.metrics.seed])
        for cell in results.seeds(network, row)
        if cell.metrics.seed in other
    ]


def draws(results: Results) -> dict[str, Any]:
    """The arguments of the bootstrap, as the params set them, with at least LEAST_DRAWS draws."""
    evaluation = results.evaluation
    return {
        "confidence": evaluation["confidence"],
        "resamples": max(evaluation["bootstrap_resamples"], LEAST_DRAWS),
        "seed": DRAWS_SEED,
    }
