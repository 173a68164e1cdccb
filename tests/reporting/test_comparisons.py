import subprocess
import sys
import time

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.reporting.comparisons import (
    compare_family,
    hierarchical_difference,
    holm,
    paired_difference,
    row_mean,
)

DRAWS = {"confidence": 0.95, "resamples": 4000, "seed": 0}


def outcomes(both, gained, lost, neither):
    """Two rows of bool with so many images of each kind."""
    first = np.repeat([True, True, False, False], [both, gained, lost, neither])
    second = np.repeat([True, False, True, False], [both, gained, lost, neither])
    return first, second


def test_paired_difference_of_published_data():
    # Cavo et al. 2012 as in Fagerland, Lydersen, Laake, Statistical Analysis of Contingency Tables,
    # chapter 8: difference -0.0621, Newcombe's interval -0.1186 to -0.0046
    found = paired_difference(*outcomes(59, 6, 16, 80), confidence=0.95)
    assert (found.images, found.gained, found.lost) == (161, 6, 16)
    assert found.difference == pytest.approx(-0.0621, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_mcnemar_by_hand():
    # six of seven: 2 (7 + 1) / 2^7
    assert paired_difference(*outcomes(9, 6, 1, 4), confidence=0.95).p_value == 16 / 128
    assert paired_difference(*outcomes(9, 1, 6, 4), confidence=0.95).p_value == 16 / 128
    assert paired_difference(*outcomes(9, 5, 5, 4), confidence=0.95).p_value == 1


def test_the_same_outcomes_differ_by_nothing():
    found = paired_difference(*outcomes(9, 0, 0, 4), confidence=0.95)
    assert (found.difference, found.p_value) == (0, 1)
    assert found.low == pytest.approx(-found.high)
    assert found.low < 0
    all_right = paired_difference(*outcomes(9, 0, 0, 0), confidence=0.95)
    assert all_right.low < 0 < all_right.high


def test_swapping_the_rows_turns_the_interval():
    there = paired_difference(*outcomes(50, 12, 5, 33), confidence=0.9)
    back = paired_difference(*outcomes(50, 5, 12, 33), confidence=0.9)
    assert (back.difference, back.low, back.high) == pytest.approx(
        (-there.difference, -there.high, -there.low)
    )
    assert back.p_value == there.p_value


def test_outcomes_that_do_not_pair_are_told():
    with pytest.raises(UserError, match=r"of 9 images cannot be paired with those of 8 images"):
        paired_difference(np.ones(9, bool), np.ones(8, bool), confidence=0.95)
    with pytest.raises(UserError, match=r"of 3 x 9 images .* with those of 1 x 9 images"):
        hierarchical_difference(np.ones((3, 9), bool), np.ones((1, 9), bool), **DRAWS)


def test_one_seed_has_the_standard_error_of_paired_shares():
    # var = (gained + lost - (gained - lost)^2 / n) / n^2
    first, second = outcomes(700, 120, 80, 100)
    found = hierarchical_difference(first[None], second[None], **DRAWS)
    error = (200 - 40**2 / 1000) ** 0.5 / 1000
    assert (found.seeds, found.images) == (1, 1000)
    assert found.mean == pytest.approx(0.04)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.05)


def test_without_image_noise_the_interval_is_that_of_the_seeds_drawn():
    # every image alike within a seed: differences 0, 0 and 1, a draw of three has a binomial mean
    correct = np.repeat([[False], [False], [True]], 50, axis=1)
    found = hierarchical_difference(correct, np.zeros_like(correct), **DRAWS)
    assert found.mean == pytest.approx(1 / 3)
    # P(0) = 8/27 and P(1) = 1/27 are both above the tails of 0.025
    assert (found.low, found.high) == (0, 1)
    narrow = hierarchical_difference(correct, np.zeros_like(correct), **DRAWS | {"confidence": 0.3})
    # the middle 30 % are from 0.35 to 0.65; P(0) + P(1/3) = 20/27
    assert (narrow.low, narrow.high) == pytest.approx((1 / 3, 1 / 3))


def test_counting_kinds_of_images_draws_as_drawing_images_does():
    random = np.random.default_rng(3)
    difficulty = random.random(200)
    correct = random.random((3, 200)) < difficulty
    against = random.random((3, 200)) < difficulty
    found = hierarchical_difference(correct, against, **DRAWS)
    difference = correct.astype(float) - against
    means = [
        difference[random.integers(3, size=3)][:, random.integers(200, size=200)].mean()
        for _ in range(4000)
    ]
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.006)


def test_images_are_paired_between_rows_and_shared_by_the_seeds():
    random = np.random.default_rng(4)
    same = np.repeat(random.random((1, 2000)) < 0.5, 3, axis=0)
    found = hierarchical_difference(same, same, **DRAWS)
    assert (found.low, found.high) == (0, 0)  # rows that agree on each image cannot differ
    row = row_mean(same, **DRAWS)
    # three seeds that agree tell no more than one: the error of one share
    assert (row.high - row.low) / (2 * 1.96) == pytest.approx((0.25 / 2000) ** 0.5, rel=0.05)
    assert row.mean == same.mean()


def test_the_same_seed_draws_the_same():
    random = np.random.default_rng(5)
    correct, against = random.random((2, 3, 500)) < 0.8
    first = hierarchical_difference(correct, against, **DRAWS)
    assert first == hierarchical_difference(correct, against, **DRAWS)
    assert first != hierarchical_difference(correct, against, **DRAWS | {"seed": 1})


def test_ten_thousand_images_three_seeds_and_two_thousand_draws_take_little():
    random = np.random.default_rng(6)
    correct, against = random.random((2, 3, 10_000)) < 0.9
    start = time.perf_counter()
    hierarchical_difference(correct, against, **DRAWS | {"resamples": 2000})
    assert time.perf_counter() - start < 2


def test_the_interval_covers_the_true_difference():
    # five seeds whose top-1 has sd 0.03 around 0.8, 300 images: 0.95 of 200 is 190, sd 3
    random = np.random.default_rng(7)
    covered = 0
    for experiment in range(200):
        correct, against = (
            random.random((5, 300)) < random.normal(0.8, 0.03, (5, 1)) for _ in range(2)
        )
        draws = {"confidence": 0.95, "resamples": 300, "seed": experiment}
        found = hierarchical_difference(correct, against, **draws)
        covered += found.low <= 0 <= found.high
    assert 180 <= covered <= 200


def test_holm_by_hand():
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, raised to the one before
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.5])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []


def family(*gains, seeds=3, images=4000):
    """Pairs of rows: top-1 of the first is higher by so much."""
    random = np.random.default_rng(8)
    pairs = {}
    for gain in gains:
        difficulty = random.random((1, images))
        correct, against = (
            difficulty + random.normal(0, 0.05, (seeds, images)) < share
            for share in (0.8 + gain, 0.8)
        )
        pairs[f"gain {gain}"] = (correct, against)
    return pairs


def test_a_family_is_corrected_for_its_size():
    pairs = family(0.03, 0.0, -0.03)
    compared = compare_family("additions", pairs, **DRAWS)
    higher, same, lower = compared.values()
    assert {each.family for each in compared.values()} == {"additions"}
    assert {each.family_size for each in compared.values()} == {3}
    assert higher.estimate == hierarchical_difference(*pairs["gain 0.03"], **DRAWS)
    # no draw reaches 0: the smallest p-value there is, 2 / 4001, times 3 and 2, raised to 3
    assert (higher.p_value, lower.p_value) == (2 / 4001, 2 / 4001)
    assert (higher.holm_p_value, lower.holm_p_value) == pytest.approx((6 / 4001, 6 / 4001))
    assert same.holm_p_value == same.p_value > 0.05
    levels = [1 - each.holm_estimate.confidence for each in (higher, lower, same)]
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])
    assert higher.holm_estimate.low < higher.estimate.low
    assert higher.holm_estimate.low > 0 > lower.holm_estimate.high
    assert same.holm_estimate.low < 0 < same.holm_estimate.high


@pytest.mark.parametrize("gain", [0.002, 0.004, 0.006, 0.008, 0.010, 0.012])
def test_interval_and_p_value_after_holm_agree(gain):
    compared = compare_family("near the bound", family(0.0, gain, -gain, 0.02), **DRAWS)
    for each in compared.values():
        excludes = each.holm_estimate.low > 0 or each.holm_estimate.high < 0
        assert excludes == (each.holm_p_value < 0.05)


def test_a_pair_of_one_seed_is_judged_by_its_images():
    one = family(0.03, seeds=1)["gain 0.03"]
    compared = compare_family("mixed", {"one": one, **family(0.0)}, **DRAWS)
    found = compared["one"]
    alone = paired_difference(one[0][0], one[1][0], confidence=0.95)
    assert (found.estimate.seeds, found.estimate.mean) == (1, alone.difference)
    assert (found.estimate.low, found.estimate.high) == (alone.low, alone.high)
    assert found.p_value == alone.p_value
    assert found.holm_p_value == 2 * alone.p_value
    corrected = paired_difference(one[0][0], one[1][0], confidence=0.975)
    assert (found.holm_estimate.low, found.holm_estimate.high) == (corrected.low, corrected.high)
    assert compared["gain 0.0"].family_size == 2


def test_imports_no_torch():
    code = "import sys, pipeline.reporting.comparisons; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
