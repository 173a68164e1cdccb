from math import exp

import pytest

from pipeline.reporting.comparisons import Compared, Estimate
from pipeline.reporting.verdicts import (
    ACCURATE,
    CLAIMS,
    LayerCount,
    Published,
    judge_accuracy,
    judge_maps,
    judge_mimicking,
    judge_modes,
    judge_state_of_the_art,
)

ON = "CIFAR-10, ResNet-20"


def counts(*two_modes, layers=20):
    return [LayerCount(each, layers, kurtosis=1.8) for each in two_modes]


@pytest.mark.parametrize(
    ("teacher", "student", "outcome"),
    [
        ((20, 19, 20), (18, 18, 18), "holds"),  # 18 of 20 is 90 %
        ((20, 19, 20), (18, 17, 18), "undecided"),  # one seed of one network is below
        ((0, 3, 1), (10, 10, 10), "does not hold"),  # 10 of 20 is 50 %
        ((0, 3, 1), (11, 10, 10), "undecided"),
        ((20, 20, 20), (0, 0, 0), "undecided"),  # the teacher alone has them
        ((20, 20), (20, 20, 20), "undecided"),  # two seeds of one network are too few
        ((0, 0), (0, 0), "undecided"),
    ],
)
def test_modes(teacher, student, outcome):
    found = judge_modes(ON, {"tuned teacher": counts(*teacher), "student": counts(*student)})
    assert found.outcome == outcome
    assert found.claim.key == "bimodal"
    assert found.measured_on == ON


def test_modes_in_words():
    found = judge_modes(ON, {"tuned teacher": counts(20, 19, 19), "student": counts(18, 18, 18)})
    assert found.result == (
        "tuned teacher: 19 to 20 of 20 layers, mean kurtosis 1.80 (3 seeds); "
        "student: 18 of 20 layers, mean kurtosis 1.80 (3 seeds)"
    )
    assert found.reason == "90 to 100 % of the layers have two modes"
    found = judge_modes(ON, {"student": counts(17, 17, 17)})
    assert found.reason == "85 % of the layers have two modes, and 90 % are needed at each seed"
    found = judge_modes(ON, {"student": counts(17)})
    assert found.reason == "85 % of the layers have two modes; 1 seed, and 3 are needed"


@pytest.mark.parametrize(
    ("ratios", "outcome", "reason"),
    [
        # equal steps of the logarithm: half width 4.3027 * 0.1 / sqrt(3) = 0.248 of three
        ([0.2 * exp(-0.1), 0.2, 0.2 * exp(0.1)], "holds", "interval below 1"),
        # half width 12.7 of two whose logarithms differ by 2: nothing is known
        ([0.2 * exp(-1), 0.2 * exp(1)], "undecided", "reaches 1"),
        ([0.55 * exp(-0.1), 0.55, 0.55 * exp(0.1)], "undecided", "reaches below"),
        ([0.7 * exp(-0.1), 0.7, 0.7 * exp(0.1)], "does not hold", "above 0.5"),
        ([3.0, 3.1, 3.2], "does not hold", "above 0.5"),
        ([0.01], "undecided", "1 seed: no interval"),
        ([], "undecided", "no seed"),
    ],
)
def test_mimicking(ratios, outcome, reason):
    without = [0.01 * (place + 1) for place in range(len(ratios))]
    complete = [ratio * base for ratio, base in zip(ratios, without, strict=True)]
    found = judge_mimicking(ON, "a against b", complete, without)
    assert found.outcome == outcome
    assert reason in found.reason


def test_mimicking_in_words():
    # exp(-+0.2484) times 0.2
    found = judge_mimicking(ON, "a against b", [0.2 * exp(-0.1), 0.2, 0.2 * exp(0.1)], [1, 1, 1])
    assert found.result == (
        "a against b: ratio of the distances to the teacher 0.2 "
        "(95 % interval 0.16 to 0.26; 3 seeds)"
    )


def test_the_interval_of_a_ratio_may_reach_beyond_any_float():
    found = judge_mimicking(ON, "a against b", [1e30, 1e-30], [1e-30, 1e30])
    assert found.outcome == "undecided"
    assert found.result.endswith("(95 % interval 0 to inf; 2 seeds)")


@pytest.mark.parametrize(
    ("complete", "binary", "outcome", "reason"),
    [
        ([0.010, 0.011, 0.012], [0.030, 0.032, 0.031], "holds", "below 0"),
        ([0.030, 0.032, 0.031], [0.010, 0.011, 0.012], "does not hold", "above 0"),
        ([0.010, 0.030, 0.020], [0.030, 0.010, 0.020], "undecided", "includes 0"),
        ([0.0, 0.0], [0.0, 0.0], "undecided", "the same at 2 seeds: no interval"),
        ([0.01], [0.03], "undecided", "1 seed: no interval"),
        ([], [], "undecided", "no seed"),
    ],
)
def test_maps(complete, binary, outcome, reason):
    found = judge_maps(ON, complete, binary)
    assert found.outcome == outcome
    assert reason in found.reason


def test_maps_in_words():
    # differences -2.0, -2.1, -1.9: half width 4.3027 * 0.1 / sqrt(3) = 0.25
    found = judge_maps(ON, [0.010, 0.011, 0.012], [0.030, 0.032, 0.031])
    assert found.result == (
        "1.100 % of the maps are blank, binary alone 3.100 %; difference -2.000 points "
        "(95 % interval -2.248 to -1.752; 3 seeds)"
    )


def compared(low, high, seeds=3):
    """Bounds in points, after Holm; alone, the interval excludes 0 by far."""
    alone = Estimate(seeds, 10_000, 0.05, 0.04, 0.06, 0.95)
    mean = (low + high) / 200
    corrected = Estimate(seeds, 10_000, mean, low / 100, high / 100, 0.99)
    return Compared(alone, 0.004, "additions to binary alone", 5, 0.02, corrected)


@pytest.mark.parametrize(
    ("found", "outcome", "reason"),
    [
        (compared(0.1, 2.0), "holds", "above 0"),
        (compared(0.1, 0.4), "holds", "above 0"),
        (compared(-2.0, -0.1), "does not hold", "below 0"),
        (compared(-0.4, 0.3), "does not hold", "within ±0.5 points"),
        (compared(-0.4, 0.6), "undecided", "beyond ±0.5 points"),
        (compared(-0.6, 0.4), "undecided", "beyond ±0.5 points"),
        (compared(0.1, 2.0, seeds=2), "undecided", "2 seeds: the interval needs 3"),
        (compared(-2.0, -0.1, seeds=1), "undecided", "1 seed: the interval needs 3"),
        (None, "undecided", "no seed"),
    ],
)
def test_accuracy(found, outcome, reason):
    verdict = judge_accuracy(ON, found)
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_accuracy_in_words():
    verdict = judge_accuracy(ON, compared(0.1, 2.0))
    assert verdict.result == (
        "+1.05 points (95 % interval +0.10 to +2.00 after Holm's correction over 5 "
        "comparisons; 3 seeds)"
    )


def ours(low, high, seeds=3):
    return Estimate(seeds, 10_000, (low + high) / 200, low / 100, high / 100, 0.95)


PUBLISHED = [Published("First", 85.0, 600), Published("Second", 86.5, 400)]


@pytest.mark.parametrize(
    ("estimate", "epochs", "published", "outcome", "reason"),
    [
        (ours(86.6, 87.0), 400, PUBLISHED, "holds", "above the published figure"),
        (ours(85.2, 86.4), 400, PUBLISHED, "does not hold", "below the published figure"),
        (ours(86.4, 86.6), 600, PUBLISHED, "undecided", "includes the published figure"),
        (ours(50.0, 51.0), 399, PUBLISHED, "undecided", "399 epochs here, 400 there"),
        (ours(90.0, 91.0), 399, PUBLISHED, "undecided", "schedules not comparable"),
        (ours(90.0, 91.0), 900, [Published("A", 80.0, None)], "undecided", "unknown number there"),
        (ours(90.0, 91.0, seeds=2), 400, PUBLISHED, "undecided", "2 seeds: the interval needs 3"),
        (ours(90.0, 91.0), 400, [], "undecided", "no published figure"),
        (None, 400, PUBLISHED, "undecided", "no seed"),
    ],
)
def test_state_of_the_art(estimate, epochs, published, outcome, reason):
    verdict = judge_state_of_the_art(ON, estimate, epochs, published)
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_state_of_the_art_in_words():
    verdict = judge_state_of_the_art(ON, ours(50.0, 51.0), 10, PUBLISHED)
    assert (
        verdict.result
        == "50.50 % (95 % interval 50.00 to 51.00; 3 seeds); highest published: Second, 86.50 %"
    )


def test_every_claim_has_a_verdict_where_nothing_was_run():
    verdicts = [
        judge_modes(ON, {"tuned teacher": counts(20), "student": []}),
        judge_mimicking(ON, "", [], []),
        judge_maps(ON, [], []),
        judge_accuracy(ON, None),
        judge_state_of_the_art(ON, None, 0, []),
    ]
    assert [each.claim for each in verdicts] == list(CLAIMS)
    assert {(each.result, each.outcome) for each in verdicts} == {("not run", "undecided")}


def test_the_rules_state_the_numbers_used():
    rules = {claim.key: claim.rule for claim in CLAIMS}
    assert "90 %" in rules["bimodal"]
    assert "50 %" in rules["bimodal"]
    assert "0.5" in rules["mimicked"]
    assert "±0.5 points; 3 seeds" in ACCURATE.rule
    assert {claim.source for claim in CLAIMS} == {"abstract", "figure"}
