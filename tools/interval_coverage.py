"""Measure how often the intervals of top-1 contain the truth, in simulated experiments.

Image i is right under seed s if d_i + a_s + e_is > 0. All three terms are Gaussian: the
difficulties d of the images, with standard deviation 2 and the same for all seeds; the shifts a of
the seeds; and standard normal noise e. Two seeds then agree about an image as two seeds of the
digits do, whose outcomes have tetrachoric correlations of 0.78 to 0.85 for the 1-bit rows. Both
rows of a comparison are drawn from the same distribution, so their true difference is 0.

Prints a line of a Markdown table for each case. It says in how many percent of the experiments the
95 % interval of a row contains its top-1, in how many that of a difference contains 0, and in how
many the p-value of a difference is below 0.05 / 8, Holm's first threshold in a family of eight.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.stats import norm

from pipeline.reporting.comparisons import compare_family, row_mean

CONFIDENCE, RESAMPLES, FAMILY = 0.95, 1000, 8
DIFFICULTY_STD = 2.0


@dataclass(frozen=True)
class Case:
    """Experiments of one kind."""

    images: int
    top1: float
    spread: float
    """Standard deviation of a row's top-1 between seeds, as a share."""
    seeds: int


@dataclass(frozen=True)
class Coverage:
    """Shares of the experiments, from 0 to 1.

    Attributes:
        row: The interval of a row contains its top-1.
        difference: The interval of a difference contains 0.
        called_different: The p-value is below Holm's first threshold.
    """

    row: float
    difference: float
    called_different: float


SMALL = [Case(359, *each) for each in product((0.92,), (0.0, 0.01, 0.02), (1, 3, 10))]
NEARLY_PERFECT = [Case(359, *each) for each in product((0.99,), (0.002,), (1, 3, 10))]
LARGE = [Case(10_000, *each) for each in product((0.85,), (0.003, 0.0075), (1, 3))]
EXPERIMENTS = ((1000, SMALL + NEARLY_PERFECT), (300, LARGE))


def main() -> None:
    """Entry point."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(
        "| images | top-1 | spread, points | seeds | experiments | row | difference | p < .05/8 |"
    )
    print("|" + " --: |" * 8)
    for experiments, cases in EXPERIMENTS:
        for case in cases:
            found = coverage(case, experiments)
            shares = (found.row, found.difference, found.called_different)
            print(
                f"| {case.images:,} | {100 * case.top1:g} | {100 * case.spread:g} | {case.seeds} "
                f"| {experiments} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |",
                flush=True,
            )


def coverage(case: Case, experiments: int) -> Coverage:
    """Draw experiments and judge each as a report would."""
    counts = np.zeros(3)
    for number, (first, second) in enumerate(_pairs(case, experiments)):
        row = row_mean(first, confidence=CONFIDENCE, resamples=RESAMPLES, seed=number)
        compared = compare_family(
            "two rows",
            {"": (first, second)},
            confidence=CONFIDENCE,
            resamples=RESAMPLES,
            seed=number,
        )[""]
        difference = compared.estimate
        counts += (
            row.low <= case.top1 <= row.high,
            difference.low <= 0 <= difference.high,
            compared.p_value < (1 - CONFIDENCE) / FAMILY,
        )
    return Coverage(*(counts / experiments).tolist())


def _pairs(case: Case, experiments: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Outcomes of two rows, bool (seeds, images) each."""
    random = np.random.default_rng(0)
    # A Gaussian shift a makes top-1 spread by std(a) times the density at the threshold.
    of_images = np.hypot(DIFFICULTY_STD, 1)
    shift_std = case.spread * of_images / norm.pdf(norm.ppf(case.top1))
    mean = norm.ppf(case.top1) * np.hypot(of_images, shift_std)
    for _ in range(experiments):
        difficulties = random.normal(mean, DIFFICULTY_STD, case.images)
        first, second = (
            difficulties
            + random.normal(0, shift_std, (case.seeds, 1))
            + random.normal(size=(case.seeds, case.images))
            > 0
            for _ in range(2)
        )
        yield first, second


if __name__ == "__main__":
    main()
