import pytest

from pipeline.reporting.statistics import counted, summarize


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


def test_equal_values_have_no_interval() -> None:
    summary = summarize([0.1 + 0.2, 0.3])
    assert summary is not None
    assert (summary.std, summary.half_width) == (0.0, None)


def test_nouns_are_in_the_plural_but_for_one() -> None:
    assert [counted(number, "seed") for number in (0, 1, 2)] == ["0 seeds", "1 seed", "2 seeds"]
