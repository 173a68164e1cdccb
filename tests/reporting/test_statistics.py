import pytest

from pipeline.reporting.statistics import summarize, verdict


def test_two_values_by_hand() -> None:
    summary = summarize([1.0, 3.0])
    assert summary is not None
    assert (summary.count, summary.mean) == (2, 2.0)
    assert summary.std == pytest.approx(2**0.5)
    # t(0.975, 1) = 12.7062; times sqrt(2) / sqrt(2)
    assert summary.half_width == pytest.approx(12.7062, abs=1e-4)


def test_five_values_by_hand() -> None:
    summary = summarize([1.0, 2.0, 3.0, 4.0, 5.0])
    assert summary is not None
    # std = sqrt(10 / 4); t(0.975, 4) = 2.7764
    assert summary.std == pytest.approx(2.5**0.5)
    assert summary.half_width == pytest.approx(2.7764 * 0.5**0.5, abs=1e-4)


def test_no_spread_from_one_value_and_none_from_nothing() -> None:
    summary = summarize([0.5])
    assert summary is not None
    assert (summary.std, summary.half_width) == (None, None)
    assert summarize([]) is None


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([], "not run"),
        ([2.0], "one seed: no spread to compare with"),
        ([2.0, 2.0], "identical in all seeds: no interval"),
        # half-width 12.7062 * 0.1 = 1.27: below and above the mean
        ([2.0, 2.2], "higher, beyond the seed spread"),
        ([-2.0, -2.2], "lower, beyond the seed spread"),
        ([1.0, 1.2], "not distinguishable from the seed spread"),
        ([0.1 + 0.2, 0.3], "identical in all seeds: no interval"),
    ],
)
def test_verdict(differences: list[float], words: str) -> None:
    assert verdict(summarize(differences)) == words
