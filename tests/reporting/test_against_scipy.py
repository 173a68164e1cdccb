"""The statistics of the committed results, computed again by SciPy, statsmodels or another way."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from pipeline.reporting.comparisons import (
    hierarchical_difference,
    holm,
    paired_difference,
    row_mean,
)
from pipeline.reporting.estimates import common_seeds, differences
from pipeline.reporting.loading import load_results
from pipeline.reporting.results import Results
from pipeline.reporting.rows import COMPARISONS
from pipeline.reporting.statistics import summarize
from tests.conftest import ROOT

TABLES = ["digits", "cifar10"]
NETWORK = "resnet20"
DRAWS = {"confidence": 0.95, "resamples": 4000, "seed": 0}


@cache
def committed(table: str) -> Results:
    return load_results(ROOT / "results" / table)


def pairs(results: Results):
    for each in COMPARISONS:
        yield from common_seeds(results, NETWORK, each.row, each.against)


def three_seeds(row: str) -> np.ndarray:
    cells = committed("study").seeds(NETWORK, row)
    return np.stack([cell.outcomes for cell in cells if cell.metrics.seed in (1, 2, 3)])


@pytest.mark.parametrize("table", TABLES)
def test_a_run_has_the_wilson_interval_of_statsmodels(table):
    for cell in committed(table).cells:
        right, images = int(cell.outcomes.sum()), len(cell.outcomes)
        assert (cell.metrics.top1_low, cell.metrics.top1_high) == pytest.approx(
            proportion_confint(right, images, alpha=0.05, method="wilson"), rel=1e-12
        )


@pytest.mark.parametrize("table", TABLES)
def test_one_seed_has_the_wilson_interval_of_statsmodels(table):
    for cell in committed(table).cells:
        found = row_mean(cell.outcomes[None], **DRAWS)
        right, images = int(cell.outcomes.sum()), len(cell.outcomes)
        assert (found.low, found.high) == pytest.approx(
            proportion_confint(right, images, alpha=0.05, method="wilson"), rel=1e-12
        )
        assert found.mean == cell.metrics.top1


@pytest.mark.parametrize("table", TABLES)
def test_every_pair_has_the_exact_mcnemar_test_of_statsmodels(table):
    for cell, other in pairs(committed(table)):
        found = paired_difference(cell.outcomes, other.outcomes, confidence=0.95)
        counts = np.histogram2d(cell.outcomes, other.outcomes, 2)[0]
        assert found.p_value == pytest.approx(mcnemar(counts, exact=True).pvalue, rel=1e-12)


@pytest.mark.parametrize("table", TABLES)
def test_the_ablation_has_the_corrected_p_values_of_statsmodels(table):
    lines = pd.read_csv(ROOT / "reports" / table / "tables" / f"ablation-{NETWORK}.csv").dropna()
    corrected = multipletests(lines["p_value"], method="holm")[1]
    assert lines["holm_p_value"].to_numpy() == pytest.approx(corrected, rel=1e-7)
    assert [each.p_value for each in differences(committed(table), NETWORK).values()] == (
        pytest.approx(lines["p_value"].to_list(), rel=1e-7)
    )


def test_holm_of_any_p_values_is_that_of_statsmodels():
    random = np.random.default_rng(0)
    for size in (1, 2, 8, 30):
        p_values = random.beta(0.3, 1, size).round(2)  # with ties
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize(
    ("row", "against"),
    [("complete", "binary"), ("kurtosis", "fine-tuned"), ("fine-tuned", "full-precision")],
)
def test_the_hierarchical_bootstrap_is_that_of_drawing_seeds_and_images_one_by_one(row, against):
    correct, other = three_seeds(row), three_seeds(against)
    difference = correct.astype(float) - other
    seeds, images = difference.shape
    random = np.random.default_rng(1)
    means = [
        difference[
            np.ix_(random.integers(seeds, size=seeds), random.integers(images, size=images))
        ].mean()
        for _ in range(DRAWS["resamples"])
    ]
    found = hierarchical_difference(correct, other, **DRAWS)
    # the means are multiples of 1 / 1077; a quantile of 4000 draws errs by 0.05 sd
    assert (found.low, found.high) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=2 / difference.size + 0.1 * np.std(means)
    )


def test_the_bootstrap_of_several_seeds_errs_on_the_wide_side_of_the_crossed_model_here():
    correct, other = three_seeds("complete"), three_seeds("binary")
    difference = correct.astype(float) - other
    seeds, images = difference.shape
    of_seeds = images * difference.mean(1).var(ddof=1)
    of_images = seeds * difference.mean(0).var(ddof=1)
    rest = (
        (difference - difference.mean(0) - difference.mean(1, keepdims=True) + difference.mean())
        ** 2
    ).sum() / ((seeds - 1) * (images - 1))
    assert of_seeds > rest < of_images
    error = ((of_seeds + of_images - rest) / difference.size) ** 0.5
    # statsmodels' MixedLM with crossed seeds and images, by restricted maximum likelihood, takes
    # minutes and finds 1.12419
    assert 100 * error == pytest.approx(1.12419, abs=5e-4)
    found = hierarchical_difference(correct, other, **DRAWS)
    # in the draws the spread of seeds counts 2/3, the noise of single outcomes up to 3 times
    assert 1.1 < (found.high - found.low) / (2 * 1.96) / error < 1.35


def test_the_interval_over_seeds_is_students_of_scipy_and_statsmodels():
    cells = common_seeds(committed("digits"), NETWORK, "complete", "binary")
    shares = [cell.metrics.blank_map_share - other.metrics.blank_map_share for cell, other in cells]
    values = 100 * np.array(shares)
    found = summarize(values.tolist())
    ends = (found.mean - found.half_width, found.mean + found.half_width)
    assert ends == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval(0.95), rel=1e-9)
    assert ends == pytest.approx(DescrStatsW(values).tconfint_mean(0.05), rel=1e-9)


@pytest.mark.parametrize("table", TABLES)
def test_the_shares_and_means_of_a_run_follow_from_its_layers(table):
    for cell in committed(table).cells:
        layers, maps = cell.details.layers, cell.details.blank_maps.values()
        distances = [each.teacher_distance_relative for each in layers]
        if cell.metrics.teacher_distance_relative is not None:
            assert cell.metrics.teacher_distance_relative == pytest.approx(np.mean(distances))
        if cell.metrics.blank_map_share is not None:
            blank, seen = np.array([(each.blank, each.maps) for each in maps]).sum(0)
            assert cell.metrics.blank_map_share == pytest.approx(blank / seen, rel=1e-12)
        assert np.trace(cell.details.confusion) == cell.outcomes.sum()
        for layer in layers:
            both = layer.valley_depth >= 0.10 and layer.dip_p_value < 0.01
            assert layer.two_modes == both
