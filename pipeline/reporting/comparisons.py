"""Comparing two rows in top-1, paired by test image within a seed, and over several seeds.

Every row of a data set is judged on the same test images in the same order, so the outcome of an
image under one row can be compared with its outcome under the other. `correct` and `against` hold
those outcomes. Differences are top-1 of `correct` minus top-1 of `against`, as shares.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from scipy.stats import binomtest

from pipeline.errors import UserError


@dataclass(frozen=True)
class PairedDifference:
    """Two networks on the same test images."""

    images: int
    gained: int
    """Images that the first network has right and the second has wrong."""
    lost: int
    """Images that the first network has wrong and the second has right."""
    difference: float
    low: float
    high: float
    p_value: float
    """P-value of the exact McNemar test."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval, see `row_mean` and `compare_family`."""

    seeds: int
    images: int
    mean: float
    low: float
    high: float
    confidence: float
    """Confidence level of the interval."""


@dataclass(frozen=True)
class Compared:
    """A mean difference over seeds as a member of a family, see `compare_family`."""

    estimate: Estimate
    """The difference with the interval of this comparison alone."""
    p_value: float
    """Two-sided p-value of this comparison alone."""
    family: str
    family_size: int
    holm_p_value: float
    holm_estimate: Estimate
    """The difference with the interval at the level of Holm's procedure. The interval excludes 0
    where the corrected p-value is below 1 - confidence, unless draws lie on its bound. The
    intervals of a family do not all cover at once with that confidence."""


def paired_difference(
    correct: np.ndarray, against: np.ndarray, *, confidence: float
) -> PairedDifference:
    """Compare two networks image by image.

    The p-value is that of the exact McNemar test: the binomial test of gained = lost. The interval
    is Newcombe's tenth method (Statistics in Medicine 17, 1998, 2635-2650): the score intervals of
    both shares, combined by their correlation over the images. Both express the uncertainty of a
    finite test set for these two trained networks. Neither says how the difference would vary if
    they were trained again with other seeds.

    Args:
        correct: bool (images,).
        against: bool (images,), same order.
        confidence: coverage of the interval, between 0 and 1.

    Raises:
        UserError: the numbers of images differ.
    """
    _check_same_shape(correct, against)
    images = len(correct)
    both, neither = int((correct & against).sum()), int((~correct & ~against).sum())
    gained, lost = int((correct & ~against).sum()), int((~correct & against).sum())
    low, high = _newcombe(both, gained, lost, neither, confidence)
    return PairedDifference(
        images=images,
        gained=gained,
        lost=lost,
        difference=(gained - lost) / images,
        low=low,
        high=high,
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )


def _newcombe(
    both: int, gained: int, lost: int, neither: int, confidence: float
) -> tuple[float, float]:
    images = both + gained + lost + neither
    first, second = both + gained, both + lost
    a, b = (
        binomtest(each, images).proportion_ci(confidence, method="wilson")
        for each in (first, second)
    )
    product = first * (images - first) * second * (images - second)
    covariance: float = both * neither - gained * lost
    if covariance > 0:
        covariance = max(covariance - images / 2, 0)
    correlation = covariance / product**0.5 if product else 0.0

    def width(up: float, down: float) -> float:
        return float((up**2 - 2 * correlation * up * down + down**2) ** 0.5)

    p, q = first / images, second / images
    return p - q - width(p - a.low, b.high - q), p - q + width(a.high - p, q - b.low)


def row_mean(correct: np.ndarray, *, confidence: float, resamples: int, seed: int) -> Estimate:
    """Mean top-1 of one row with its interval.

    For several seeds, the interval is a bootstrap over seeds and test images; what
    `hierarchical_difference` says about few seeds holds here too. For one seed, it is Wilson's
    score interval (Journal of the American Statistical Association 22, 1927, 209-212), which
    accounts for other test images but not for other seeds.

    Args:
        correct: bool (seeds, images).
        confidence: coverage of the interval, between 0 and 1.
        resamples: bootstrap draws.
        seed: seed of the random draws.
    """
    values = correct.astype(np.int8)
    if len(values) > 1:
        return _estimate(values, _draws(values, resamples, seed), confidence)
    right, images = int(values.sum()), values.size
    ends = binomtest(right, images).proportion_ci(confidence, method="wilson")
    return Estimate(1, images, right / images, float(ends.low), float(ends.high), confidence)


def hierarchical_difference(
    correct: np.ndarray, against: np.ndarray, *, confidence: float, resamples: int, seed: int
) -> Estimate:
    """Mean difference in top-1 over seeds, with a percentile bootstrap over seeds and test images.

    A draw takes as many seeds as there are, with replacement, and as many test images as there are,
    with replacement. The images are the same for every seed and both rows, which share one test
    set. So the interval accounts for other seeds and for other test images of the same kind. It
    does not account for other data sets, schedules or splits into training and validation.

    With few seeds it may be too narrow: the variance between S seeds is drawn too small by the
    factor (S - 1) / S, a single seed leaves it out, and no draw goes far beyond the most extreme
    seed. The noise of single outcomes is drawn up to three times too large, so the interval is too
    wide where seeds differ by little else. docs/experiments.md has the coverage that
    tools/interval_coverage.py measures: 92 % for 3 seeds and 96 % for 10 on 359 images where top-1
    spreads by 2 points between seeds, and 86 % for 3 seeds on 10,000 images where it spreads by
    0.75 points.

    Args:
        correct: bool (seeds, images).
        against: bool (seeds, images): same seeds and images in the same order.
        confidence: coverage of the interval, between 0 and 1.
        resamples: bootstrap draws.
        seed: seed of the random draws.

    Raises:
        UserError: the numbers of seeds or images differ.
    """
    values = _difference(correct, against)
    return _estimate(values, _draws(values, resamples, seed), confidence)


Name = TypeVar("Name")


def compare_family(
    family: str,
    pairs: Mapping[Name, tuple[np.ndarray, np.ndarray]],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> dict[Name, Compared]:
    """Compare several pairs of rows and correct for their number by Holm's procedure.

    The probability that any pair of equal rows in the family is called different is at most
    1 - confidence, as far as the bootstrap draws are right. With three seeds that spread widely
    they are not: 5 % of the p-values of equal rows are then below 0.05 / 8, see
    `hierarchical_difference`. The two-sided p-value is twice the share of draws at or beyond 0 on
    the smaller side, with 1 added to their number and to that of all draws.

    A pair with one seed is judged by `paired_difference`: its p-value and intervals account for
    other test images but not for other seeds.

    Args:
        family: Name of the family, for the reader.
        pairs: For each comparison, `correct` and `against` as in `hierarchical_difference`.
        confidence: coverage of the intervals, between 0 and 1.
        resamples: bootstrap draws.
        seed: seed of the random draws.

    Raises:
        UserError: the numbers of seeds or images of a pair differ.
    """
    intervals: list[Callable[[float], Estimate]] = []
    found = []
    for correct, against in pairs.values():
        values = _difference(correct, against)
        if len(values) == 1:
            images = paired_difference(correct[0], against[0], confidence=confidence)
            found.append(images.p_value)
            intervals.append(partial(_paired_estimate, correct[0], against[0]))
        else:
            draws = _draws(values, resamples, seed)
            found.append(_p_value(draws))
            intervals.append(partial(_estimate, values, draws))
    p_values = np.array(found)
    corrected = holm(p_values)
    rejected = int((corrected < 1 - confidence).sum())
    ranks = p_values.argsort(kind="stable").argsort(kind="stable")
    compared = {}
    for place, name in enumerate(pairs):
        tests_left = len(pairs) - min(int(ranks[place]), rejected)
        level = (1 - confidence) / tests_left
        compared[name] = Compared(
            estimate=intervals[place](confidence),
            p_value=float(p_values[place]),
            family=family,
            family_size=len(pairs),
            holm_p_value=float(corrected[place]),
            holm_estimate=intervals[place](1 - level),
        )
    return compared


def holm(p_values: np.ndarray) -> np.ndarray:
    """Corrected p-values of a family (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    The i-th smallest of m is multiplied by m - i + 1, then raised to the largest of those before
    it, and cut at 1.

    Args:
        p_values: float (m,).
    """
    order = p_values.argsort(kind="stable")
    multiplied = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.maximum.accumulate(multiplied).clip(max=1)
    return corrected


def _difference(correct: np.ndarray, against: np.ndarray) -> np.ndarray:
    _check_same_shape(correct, against)
    return correct.astype(np.int8) - against.astype(np.int8)


def _check_same_shape(correct: np.ndarray, against: np.ndarray) -> None:
    if correct.shape != against.shape:
        raise UserError(
            f"outcomes of {_described(correct)} cannot be paired with those of "
            f"{_described(against)}: both rows need the same seeds and test images"
        )


def _described(outcomes: np.ndarray) -> str:
    *seeds, images = outcomes.shape
    return f"{seeds[0]} x {images} images" if seeds else f"{images} images"


def _draws(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` bootstrap draws of (seeds, images) values.

    Images with the same values under all seeds are interchangeable, so it is enough to draw how
    many images of each kind there are, which is multinomial. All sums are of integers, so a mean
    of 0 is exact.
    """
    seeds, images = values.shape
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    random = np.random.default_rng(seed)
    drawn_images = random.multinomial(images, counts / images, resamples)
    drawn_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    sums = drawn_images.astype(np.float64) @ kinds.T.astype(np.float64)
    return (sums * drawn_seeds).sum(1) / (seeds * images)


def _estimate(values: np.ndarray, draws: np.ndarray, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    seeds, images = values.shape
    return Estimate(seeds, images, float(values.mean()), float(low), float(high), confidence)


def _paired_estimate(correct: np.ndarray, against: np.ndarray, confidence: float) -> Estimate:
    paired = paired_difference(correct, against, confidence=confidence)
    return Estimate(1, paired.images, paired.difference, paired.low, paired.high, confidence)


def _p_value(draws: np.ndarray) -> float:
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(min(2 * (beyond + 1) / (len(draws) + 1), 1))
