import subprocess
import sys

import numpy as np
import pytest
from diptest import diptest
from scipy.optimize import linprog
from scipy.signal import argrelmax
from scipy.stats import gaussian_kde, kstest

from pipeline.evaluation.modes import modes, valley_depth

SMALL, LARGE = 2304, 36_864
"""Weights of the smallest and the largest layer of ResNet-20."""


def mixture(draws, size, kurtosis):
    """Equal parts of two Gaussians, +-mean, with variance 1: kurtosis 3 - 2 mean^4."""
    mean = ((3 - kurtosis) / 2) ** 0.25
    return draws.choice([-mean, mean], size) + draws.normal(0, (1 - mean**2) ** 0.5, size)


DISTRIBUTIONS = {
    "uniform": lambda draws, size: draws.uniform(-1, 1, size),
    "gaussian": lambda draws, size: draws.normal(size=size),
    "laplace": lambda draws, size: draws.laplace(size=size),
    "mixture 1.8": lambda draws, size: mixture(draws, size, 1.8),
    "mixture 1.9": lambda draws, size: mixture(draws, size, 1.9),
    "mixture 2.3": lambda draws, size: mixture(draws, size, 2.3),
}


def found(name, size, draws=100):
    """Modes of the weights of `draws` layers."""
    return [modes(DISTRIBUTIONS[name](np.random.default_rng(i), size)) for i in range(draws)]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", ["uniform", "gaussian", "laplace", "mixture 2.3"])
def test_one_mode_is_not_taken_for_two(name, size):
    # a mixture of kurtosis 2.3 has two modes, but hardly a valley: depth 0.09
    assert sum(each.two_modes for each in found(name, size)) <= 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_valley_of_uniform_weights_is_shallow_and_their_dip_follows_its_table(size):
    layers = found("uniform", size)
    assert max(each.valley_depth for each in layers) < 0.11
    assert sum(each.valley_depth >= 0.10 for each in layers) <= 1
    # under uniform weights the p-value is uniform: 20 of 100 below 0.2, sd 4
    assert 8 <= sum(each.dip_p_value < 0.2 for each in layers) <= 32


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", ["mixture 1.8", "mixture 1.9"])
def test_two_modes_are_found(name, size):
    assert all(each.two_modes for each in found(name, size))


def test_the_depth_nears_that_of_the_distribution_as_the_layer_grows():
    # kurtosis 1.8: mean 0.8801, sd 0.4748, density 2 phi at 0, highest 1.0014 phi(0) near 0.876
    depths = [
        valley_depth(mixture(np.random.default_rng(0), size, 1.8)) for size in (SMALL, LARGE, 10**6)
    ]
    assert depths == sorted(depths)
    assert depths[-1] == pytest.approx(0.6416, abs=0.03)


def test_a_third_of_the_weights_in_the_second_mode_has_the_depth_of_that_mode():
    draws = np.random.default_rng(0)
    size = 10**6
    weights = draws.choice([-3.0, 3.0], size, p=[2 / 3, 1 / 3]) + draws.normal(size=size)
    # density in units of the lower peak: 1 there, sqrt(2) 2 exp(-9/2) at the lowest point
    assert valley_depth(weights) == pytest.approx(1 - 8**0.5 * np.exp(-4.5), abs=0.02)


def test_three_modes_have_the_depth_of_their_deepest_valley():
    draws = np.random.default_rng(0)
    centres = draws.choice([-4.0, 0.0, 12.0], 10**5, p=[0.3, 0.4, 0.3])
    assert valley_depth(centres + draws.normal(size=10**5)) == pytest.approx(1, abs=1e-3)


def test_a_few_weights_far_out_are_no_mode():
    weights = np.random.default_rng(0).normal(size=SMALL)
    weights[:5] = 30.0
    assert modes(weights).valley_depth == 0


def test_position_and_scale_of_the_weights_do_not_matter():
    weights = mixture(np.random.default_rng(0), SMALL, 2.0)
    moved = modes(0.001 * weights + 5)
    assert moved.valley_depth == pytest.approx(modes(weights).valley_depth, abs=1e-3)
    assert moved.dip == pytest.approx(modes(weights).dip, rel=1e-9)


@pytest.mark.filterwarnings("error")
def test_a_layer_beyond_the_table_is_judged_in_little_time_without_a_warning():
    size = 512 * 512 * 9
    draws = np.random.default_rng(0)
    assert not modes(draws.uniform(-1, 1, size)).two_modes
    assert modes(mixture(draws, size, 2.0)).two_modes


@pytest.mark.parametrize("kurtosis", [1.8, 2.0, 2.2])
def test_the_valley_is_that_of_scipys_kernel_estimate(kurtosis):
    weights = mixture(np.random.default_rng(1), SMALL, kurtosis)
    grid = np.linspace(weights.min(), weights.max(), 1000)
    density = gaussian_kde(weights, 1.6 * SMALL**-0.2)(grid)
    left, right = argrelmax(density)[0]
    depth = 1 - density[left:right].min() / density[[left, right]].min()
    assert valley_depth(weights) == pytest.approx(depth, abs=0.003)


def smallest_distance_to_one_mode(values):
    """Hartigans' definition: to the nearest distribution that is convex up to a mode, then concave.

    Between the values it is a line, so that it is known by its ends; before and behind them flat.
    """
    values, size = np.sort(values), len(values)
    gaps = np.diff(values)
    slopes = (np.eye(size + 1)[1:size] - np.eye(size + 1)[: size - 1]) / gaps[:, None]
    distance = np.eye(size + 1)[size]
    places, steps = np.eye(size + 1)[:size], np.arange(size) / size
    above, below = places - distance, -places - distance
    found = []
    for mode in range(size):
        rises = [slopes[i] - slopes[i + 1] for i in range(mode - 1)]
        falls = [slopes[i + 1] - slopes[i] for i in range(mode, size - 2)]
        grows = list(-slopes)
        # the empirical distribution jumps from i / n to (i + 1) / n at each value; at the mode the
        # other one may jump too, which is no gain where values are distinct
        limits = np.vstack([above, below, *rises, *falls, *grows])
        bounds = np.r_[steps, -steps - 1 / size, np.zeros(len(limits) - 2 * size)]
        found.append(linprog(distance, limits, bounds, bounds=(0, 1)).fun)
    return min(found)


@pytest.mark.parametrize("size", [5, 12, 30])
@pytest.mark.parametrize("name", ["uniform", "gaussian", "mixture 1.8"])
def test_the_dip_is_that_of_its_definition(name, size):
    values = DISTRIBUTIONS[name](np.random.default_rng(size), size)
    assert diptest(values)[0] == pytest.approx(smallest_distance_to_one_mode(values), abs=1e-9)


def test_the_p_values_of_the_dip_are_those_of_uniform_weights():
    draws = np.random.default_rng(2)
    p_values = np.array([diptest(draws.uniform(size=SMALL))[1] for _ in range(4000)])
    assert kstest(p_values, "uniform").pvalue > 0.01
    # 40 of 4000 below 0.01, sd 6.3
    assert 21 <= (p_values < 0.01).sum() <= 59


def test_imports_no_torch():
    code = "import sys, pipeline.evaluation.modes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
