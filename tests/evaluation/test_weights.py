import math

import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.evaluation.weights import (
    HISTOGRAM_EDGES,
    binarization_error,
    layer_statistics,
    near_zero_share,
    standardized_histogram,
)
from pipeline.models.binary import convolution
from tests.evaluation.test_cost import BINARY


def filters(*values):
    """One filter of 1x1 for each row of values."""
    return torch.tensor(values, dtype=torch.float64)[:, :, None, None]


@pytest.fixture
def gaussian():
    return torch.randn(8, 50, 50, 5, generator=torch.Generator().manual_seed(0)).double()


def test_near_zero_is_below_a_tenth_of_the_layers_mean_magnitude():
    # mean |w| = 1: below 0.1 are 0.05 and 0, not -0.1 itself
    weight = filters([0.05, -0.1, 0.0, -1.85], [2.0, 1.0, -2.0, 1.0])
    assert weight.abs().mean().item() == pytest.approx(1.0)
    assert near_zero_share(weight * 1.001) == 2 / 8
    assert near_zero_share(weight * -7) == 2 / 8


def test_near_zero_share_of_known_distributions(gaussian):
    threshold = 0.1 * math.sqrt(2 / math.pi)
    assert near_zero_share(gaussian) == pytest.approx(math.erf(threshold / math.sqrt(2)), abs=2e-3)
    uniform = torch.linspace(-1, 1, 20001, dtype=torch.float64)
    assert near_zero_share(uniform) == pytest.approx(0.05, abs=1e-4)
    assert near_zero_share(filters([0.3, -0.3])) == 0


def test_binarization_error_of_two_points_is_zero():
    # each filter has its own two points
    assert binarization_error(filters([0.5, -0.5, 0.5], [2.0, 2.0, -2.0])) == 0


def test_binarization_error_by_hand():
    # alpha 2: residuals 1 and -1, of 1 + 9
    assert binarization_error(filters([-1.0, 3.0])) == pytest.approx(2 / 10)
    # zero counts as +1: alpha 1, residuals -1 and 1, of 0 + 4
    assert binarization_error(filters([0.0, -2.0])) == pytest.approx(2 / 4)
    # energies of filters add up
    assert binarization_error(filters([-1.0, 3.0], [5.0, 5.0])) == pytest.approx(2 / 60)


def test_binarization_error_of_known_distributions(gaussian):
    assert binarization_error(gaussian) == pytest.approx(1 - 2 / math.pi, abs=2e-3)
    uniform = torch.linspace(-1, 1, 20001, dtype=torch.float64)[None]
    assert binarization_error(uniform) == pytest.approx(1 / 4, abs=1e-3)


def test_no_other_scale_has_a_smaller_error(gaussian):
    weight = gaussian[:1, :1]
    error = binarization_error(weight)
    alpha = weight.abs().mean()
    for factor in (0.97, 1.03):
        other = (weight - factor * alpha * weight.sign()).square().sum() / weight.square().sum()
        assert error < other


def test_histogram_counts_standard_deviations_and_keeps_outliers():
    # mean 0, unbiased variance (2 * 100 + 98 * 1) / 99
    weight = filters([10.0, -10.0] + [1.0, -1.0] * 49)
    scale = math.sqrt(298 / 99)
    counts = standardized_histogram(weight)
    assert len(HISTOGRAM_EDGES) == 61
    assert len(counts) == 60
    upper = 30 + int(1 / scale / 0.1)
    expected = {0: 1, 59: 1, upper: 49, 59 - upper: 49}
    assert {bin_: count for bin_, count in enumerate(counts) if count} == expected


def test_histogram_ignores_shift_and_scale(gaussian):
    assert standardized_histogram(gaussian * 4 + 1) == standardized_histogram(gaussian)


def network(binarization=None, seed=0):
    torch.manual_seed(seed)
    return nn.ModuleDict(
        {
            "first": convolution(1, 4, 3, binarization=None),
            "second": convolution(4, 4, 3, binarization=binarization),
            "third": convolution(4, 2, 1, binarization=None),
        }
    )


def test_layers_are_all_convolutions_but_the_first():
    layers = layer_statistics(network(BINARY), {"second": 1.8}, network())
    assert [layer.name for layer in layers] == ["second", "third"]
    assert [layer.elements for layer in layers] == [4 * 4 * 9, 4 * 2]
    assert [layer.binary for layer in layers] == [True, False]
    assert [layer.target for layer in layers] == [1.8, None]


def test_layer_with_binary_activations_alone_has_real_weights():
    only_activations = BINARY.model_copy(update={"weights": False})
    assert not layer_statistics(network(only_activations), {}, network())[0].binary


def test_kurtosis_of_a_layer_by_hand():
    model = network()
    with torch.no_grad():
        model["third"].weight.copy_(filters([1, 2, 3, 4], [5, 6, 7, 8]))
    # deviations 0.5, 1.5, 2.5, 3.5: fourth powers sum to 2 * 194.25, squares to 2 * 21
    expected = (2 * 194.25 / 8) / (2 * 21 / 7) ** 2
    found = layer_statistics(model, {}, network())[1].kurtosis
    assert found == pytest.approx(expected, rel=1e-12)


def test_distance_compares_sorted_weights():
    student, teacher = network(), network()
    with torch.no_grad():
        teacher["third"].weight.copy_(filters([1, 2, 3, 4], [5, 6, 7, 8]))
        student["third"].weight.copy_(filters([8, 7, 6, 5], [4, 3, 2, 5]))
    second, third = layer_statistics(student, {}, teacher)
    assert second.teacher_distance == 0
    # sorted: 2 3 4 5 5 6 7 8 against 1 2 3 4 5 6 7 8
    assert third.teacher_distance == pytest.approx(4 / 8)
    # unbiased variance of 1 to 8
    assert third.teacher_distance_relative == pytest.approx(4 / 8 / 6)


@pytest.mark.parametrize("value", [0.25, math.nan])
def test_a_reference_without_variance_is_named(value):
    reference = network()
    nn.init.constant_(reference["second"].weight, value)
    with pytest.raises(UserError, match=r"^second\.weight of the reference has no variance"):
        layer_statistics(network(), {}, reference)


@pytest.mark.parametrize("value", [0.25, math.nan, math.inf])
def test_constant_and_infinite_weights_are_named(value):
    model = network()
    nn.init.constant_(model["second"].weight, value)
    with pytest.raises(UserError, match=r"^second\.weight has no kurtosis: it is constant or not"):
        layer_statistics(model, {}, network())
