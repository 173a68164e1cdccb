"""The claims of the paper, the thresholds set for them beforehand, and the verdicts on them.

Each function below judges one claim on one data set and network. A claim holds, does not hold, or
stays undecided. It is also undecided if a row was not run or has too few seeds, so that each claim
gets a verdict and none is left out of the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import fmean
from typing import Literal

import numpy as np

from pipeline.reporting.comparisons import Compared, Estimate
from pipeline.reporting.statistics import CONFIDENCE, Summary, counted, reach, summarize

Outcome = Literal["holds", "does not hold", "undecided"]

MOST_LAYERS, HALF_OF_LAYERS = 0.9, 0.5
DISTANCE_RATIO = 0.5
EQUIVALENCE_MARGIN = 0.5
"""Points of top-1 within which two rows count as equal."""
SEEDS_NEEDED = 3
"""Seeds needed for an interval that draws seeds: with fewer it covers the truth too rarely, see
`hierarchical_difference`."""


@dataclass(frozen=True)
class Claim:
    """What the paper claims and how it is tested here."""

    key: str
    text: str
    """The claim in our words."""
    source: Literal["abstract", "figure"]
    """Where the paper makes the claim."""
    measured: str
    rule: str
    """When the claim holds and when it does not."""
    threshold: float
    """The number that the measured one must pass for the claim to hold."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one claim."""

    claim: Claim
    measured_on: str
    """Data and network."""
    result: str
    """What was measured, with its interval, if there is one, and the number of seeds."""
    outcome: Outcome
    reason: str


BIMODAL = Claim(
    key="bimodal",
    text="The kurtosis loss makes the distribution of the weights bimodal.",
    source="abstract",
    measured="Share of layers with two modes, in the tuned teacher and in the complete student.",
    rule=f"Holds from {100 * MOST_LAYERS:.0f} % of the layers on, does not hold up to "
    f"{100 * HALF_OF_LAYERS:.0f} %, both in each network at each seed; {SEEDS_NEEDED} seeds or "
    "more.",
    threshold=MOST_LAYERS,
)
MIMICKED = Claim(
    key="mimicked",
    text="With weight distribution mimicking (WDM) the student takes on the teacher's weight "
    "distribution.",
    source="abstract",
    measured="Squared 2-Wasserstein distance of the weights to the teacher's, relative to the "
    "teacher's variance, mean over layers: a row with WDM divided by one without that has the same "
    "teacher.",
    rule=f"Holds if the ratio is below {DISTANCE_RATIO} and its interval over seeds below 1, does "
    f"not hold if the interval is above {DISTANCE_RATIO}.",
    threshold=DISTANCE_RATIO,
)
STRUCTURED_MAPS = Claim(
    key="structured-maps",
    text="1-bit feature maps keep their structure where those of a binary network go blank.",
    source="figure",
    measured="Share of blank 1-bit maps, over all test images and binary layers: complete minus "
    "binary alone.",
    rule="Holds if the interval of the difference over seeds is below 0, does not hold if it is "
    "above 0.",
    threshold=0.0,
)
ACCURATE = Claim(
    key="accurate",
    text="The method reduces the generalization error of the binary network.",
    source="abstract",
    measured="Test top-1 of complete minus binary alone, paired by seed and test image.",
    rule="Holds if the interval after Holm's correction is above 0, does not hold if it is below 0 "
    f"or within ±{EQUIVALENCE_MARGIN} points; {SEEDS_NEEDED} seeds or more.",
    threshold=0.0,
)
STATE_OF_THE_ART = Claim(
    key="state-of-the-art",
    text="The method is better than the state of the art on CIFAR-10 and ImageNet.",
    source="abstract",
    measured="Test top-1 of complete minus the highest published one for the same data and "
    "network.",
    rule="Holds if the interval of ours is above the published one, does not hold if below; "
    "only with a schedule at least as long as the published one, and "
    f"{SEEDS_NEEDED} seeds or more.",
    threshold=0.0,
)
CLAIMS = (BIMODAL, MIMICKED, STRUCTURED_MAPS, ACCURATE, STATE_OF_THE_ART)


@dataclass(frozen=True)
class LayerCount:
    """Counts of the layers of one network at one seed."""

    two_modes: int
    layers: int
    kurtosis: float
    """Mean over the layers."""


@dataclass(frozen=True)
class Published:
    """A published figure for the same data and network."""

    method: str
    top1: float
    """Percent."""
    epochs: int | None
    """Epochs of its schedule; None if the source does not state them."""


def judge_modes(measured_on: str, networks: Mapping[str, Sequence[LayerCount]]) -> Verdict:
    """Judge whether the weights are bimodal.

    Args:
        measured_on: Data and network.
        networks: For each network judged, by its label, one count per seed; empty if not run.
    """
    if not all(networks.values()):
        return _not_run(BIMODAL, measured_on)
    result = "; ".join(
        f"{label}: {reach([each.two_modes for each in counts])} of "
        f"{reach([each.layers for each in counts])} layers, mean kurtosis "
        f"{fmean(each.kurtosis for each in counts):.2f} ({counted(len(counts), 'seed')})"
        for label, counts in networks.items()
    )
    shares = [each.two_modes / each.layers for counts in networks.values() for each in counts]
    share = reach([100 * each for each in shares], ".0f")
    reason = f"{share} % of the layers have two modes"
    outcome: Outcome = "undecided"
    seeds = min(map(len, networks.values()))
    if seeds < SEEDS_NEEDED:
        reason += f"; {counted(seeds, 'seed')}, and {SEEDS_NEEDED} are needed"
    elif min(shares) >= MOST_LAYERS:
        outcome = "holds"
    elif max(shares) <= HALF_OF_LAYERS:
        outcome = "does not hold"
    else:
        reason += f", and {100 * MOST_LAYERS:.0f} % are needed at each seed"
    return Verdict(BIMODAL, measured_on, result, outcome, reason)


def judge_mimicking(
    measured_on: str, rows: str, mimicking: Sequence[float], without: Sequence[float]
) -> Verdict:
    """Judge whether the student takes on the teacher's weight distribution.

    The interval is Student's interval of the mean logarithm of the ratio over the seeds.

    Args:
        measured_on: Data and network.
        rows: The two rows, which have the same teacher: binary + distillation with and without
            WDM, if both were run.
        mimicking: For each seed, the squared 2-Wasserstein distance to the teacher's weights,
            divided by their variance, as a mean over layers; above 0.
        without: The same for the row without WDM, seed by seed.
    """
    summary = summarize([log(a / b) for a, b in zip(mimicking, without, strict=True)])
    if summary is None:
        return _not_run(MIMICKED, measured_on)
    ratio = exp(summary.mean)
    result = f"{rows}: ratio of the distances to the teacher {ratio:.2g}"
    bounds = _bounds(summary)
    if bounds is None:
        return _without_interval(MIMICKED, measured_on, result, summary)
    with np.errstate(over="ignore"):  # the interval of two seeds may reach beyond any float
        low, high = map(float, np.exp(bounds))
    result += f" ({_interval(low, high, '.2g')}; {counted(summary.count, 'seed')})"
    outcome: Outcome = "undecided"
    if ratio < DISTANCE_RATIO and high < 1:
        outcome = "holds"
        reason = f"the ratio is below {DISTANCE_RATIO} and its interval below 1"
    elif ratio < DISTANCE_RATIO:
        reason = "the interval of the ratio reaches 1"
    elif low > DISTANCE_RATIO:
        outcome = "does not hold"
        reason = f"the interval of the ratio is above {DISTANCE_RATIO}"
    else:
        reason = f"the ratio is not below {DISTANCE_RATIO}, but its interval reaches below"
    return Verdict(MIMICKED, measured_on, result, outcome, reason)


def judge_maps(measured_on: str, complete: Sequence[float], binary: Sequence[float]) -> Verdict:
    """Judge whether fewer 1-bit maps are blank than under binary training alone.

    The interval is Student's interval of the mean difference over the seeds.

    Args:
        measured_on: Data and network.
        complete: For each seed, the share of blank maps under the complete method.
        binary: The same for binary alone, seed by seed.
    """
    summary = summarize([100 * (a - b) for a, b in zip(complete, binary, strict=True)])
    if summary is None:
        return _not_run(STRUCTURED_MAPS, measured_on)
    result = (
        f"{100 * fmean(complete):.3f} % of the maps are blank, binary alone "
        f"{100 * fmean(binary):.3f} %; difference {summary.mean:+z.3f} points"
    )
    bounds = _bounds(summary)
    if bounds is None:
        return _without_interval(STRUCTURED_MAPS, measured_on, result, summary)
    low, high = bounds
    result += f" ({_interval(low, high, '+z.3f')}; {counted(summary.count, 'seed')})"
    outcome: Outcome = "undecided"
    if high < 0:
        outcome, reason = "holds", "the interval is below 0"
    elif low > 0:
        outcome, reason = "does not hold", "the interval is above 0"
    else:
        reason = "the interval includes 0"
    return Verdict(STRUCTURED_MAPS, measured_on, result, outcome, reason)


def judge_accuracy(measured_on: str, compared: Compared | None) -> Verdict:
    """Judge whether the complete method has a higher top-1 than binary alone.

    Args:
        measured_on: Data and network.
        compared: Complete against binary, a member of its family; None if not run.
    """
    if compared is None:
        return _not_run(ACCURATE, measured_on)
    estimate = compared.holm_estimate
    low, high = 100 * estimate.low, 100 * estimate.high
    result = (
        f"{100 * estimate.mean:+z.2f} points "
        f"({_interval(low, high, '+z.2f', compared.estimate.confidence)} after Holm's correction "
        f"over {compared.family_size} comparisons; {counted(estimate.seeds, 'seed')})"
    )
    outcome: Outcome = "undecided"
    if estimate.seeds < SEEDS_NEEDED:
        reason = _too_few(estimate)
    elif low > 0:
        outcome, reason = "holds", "the interval is above 0"
    elif high < 0:
        outcome, reason = "does not hold", "the interval is below 0"
    elif max(-low, high) < EQUIVALENCE_MARGIN:
        outcome = "does not hold"
        reason = f"the interval is within ±{EQUIVALENCE_MARGIN} points of 0"
    else:
        reason = f"the interval includes 0 and reaches beyond ±{EQUIVALENCE_MARGIN} points"
    return Verdict(ACCURATE, measured_on, result, outcome, reason)


def judge_state_of_the_art(
    measured_on: str, ours: Estimate | None, epochs: int, published: Sequence[Published]
) -> Verdict:
    """Judge whether top-1 is above the highest published one.

    Args:
        measured_on: Data and network.
        ours: Mean top-1 of the complete method over the seeds; None if not run.
        epochs: Epochs of the student's schedule here, both steps together.
        published: Figures of other binary networks with the same bits, data and architecture.
    """
    if ours is None:
        return _not_run(STATE_OF_THE_ART, measured_on)
    low, high = 100 * ours.low, 100 * ours.high
    result = (
        f"{100 * ours.mean:.2f} % "
        f"({_interval(low, high, '.2f', ours.confidence)}; {counted(ours.seeds, 'seed')})"
    )
    if not published:
        reason = "no published figure for this data and network"
        return Verdict(STATE_OF_THE_ART, measured_on, result, "undecided", reason)
    best = max(published, key=lambda each: each.top1)
    result += f"; highest published: {best.method}, {best.top1:.2f} %"
    outcome: Outcome = "undecided"
    if best.epochs is None or epochs < best.epochs:
        theirs = "an unknown number" if best.epochs is None else f"{best.epochs}"
        reason = f"schedules not comparable: {epochs} epochs here, {theirs} there"
    elif ours.seeds < SEEDS_NEEDED:
        reason = _too_few(ours)
    elif low > best.top1:
        outcome, reason = "holds", "the interval is above the published figure"
    elif high < best.top1:
        outcome, reason = "does not hold", "the interval is below the published figure"
    else:
        reason = "the interval includes the published figure"
    return Verdict(STATE_OF_THE_ART, measured_on, result, outcome, reason)


def _not_run(claim: Claim, measured_on: str) -> Verdict:
    return Verdict(claim, measured_on, "not run", "undecided", "no seed has all rows it needs")


def _without_interval(claim: Claim, measured_on: str, result: str, summary: Summary) -> Verdict:
    alike = "" if summary.count == 1 else "the same at "
    seeds = counted(summary.count, "seed")
    reason = f"{alike}{seeds}: no interval over seeds"
    return Verdict(claim, measured_on, f"{result} ({seeds})", "undecided", reason)


def _too_few(estimate: Estimate) -> str:
    return f"{counted(estimate.seeds, 'seed')}: the interval needs {SEEDS_NEEDED}"


def _bounds(summary: Summary) -> tuple[float, float] | None:
    if summary.half_width is None:
        return None
    return summary.mean - summary.half_width, summary.mean + summary.half_width


def _interval(low: float, high: float, style: str, confidence: float = CONFIDENCE) -> str:
    return f"{100 * confidence:.0f} % interval {low:{style}} to {high:{style}}"
