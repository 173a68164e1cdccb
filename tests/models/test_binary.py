import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from pipeline.models.binary import (
    SIGNS,
    BinaryConv2d,
    EdeSign,
    ede_schedule,
    mean_absolute_weight,
    power_of_two_weight,
    set_ede,
    sign,
)
from pipeline.params import Binarization

INPUTS = [-2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 1.0, 1.5]
OUTPUTS = [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


class Case(NamedTuple):
    gradient: str
    t: float
    k: float
    expected: list[float]
    """Gradients at INPUTS, computed by hand."""


# By hand, k t sech^2(t x): sech^2(0.025) = 0.99937526, (0.05) = 0.99750416, (0.1) = 0.99006629,
# (0.15) = 0.97783325, (0.2) = 0.96104298, (0.25) = 0.94001485, (0.5) = 0.78644773,
# (1) = 0.41997434, (1.5) = 0.18070664, (2) = 0.07065082, (2.5) = 0.02659223, (5) = 0.00018158323,
# (10) = 8.2e-9.
CASES = [
    Case("clipped", 0, 0, [0, 1, 1, 1, 1, 1, 1, 0]),
    Case("polynomial", 0, 0, [0, 0, 1, 2, 2, 1.5, 0, 0]),
    Case(
        "ede",
        0.1,
        10,
        [0.96104298, 0.99006629, 0.99750416, 1, 1, 0.99937526, 0.99006629, 0.97783325],
    ),
    Case(
        "ede", 1, 1, [0.07065082, 0.41997434, 0.78644773, 1, 1, 0.94001485, 0.41997434, 0.18070664]
    ),
    # By hand, k max(0, sqrt(2) t - t^2 |x|).
    Case(
        "rbnn", 1, 1, [0, 0.41421356, 0.91421356, 1.41421356, 1.41421356, 1.16421356, 0.41421356, 0]
    ),
    Case(
        "rbnn",
        0.5,
        2,
        [
            *(0.41421356, 0.91421356, 1.16421356, 1.41421356),
            *(1.41421356, 1.28921356, 0.91421356, 0.66421356),
        ],
    ),
    Case("ede", 10, 1, [0, 8.2e-8, 0.0018158323, 10, 10, 0.26592227, 8.2e-8, 0]),
]


def binarization(**changes: object) -> Binarization:
    fields = {
        "weights": True,
        "activations": True,
        "sign_gradient": "ede",
        "ede_t_min": 0.1,
        "ede_t_max": 2.0,
        "weight_scale": "power_of_two",
    }
    return Binarization.model_validate(fields | changes)


def conv(channels: int = 3, filters: int = 4, **changes: object) -> BinaryConv2d:
    return BinaryConv2d(
        channels, filters, 3, stride=1, padding=1, binarization=binarization(**changes)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.gradient}-{case.t}")
def test_sign_and_gradient_match_the_table(case: Case) -> None:
    _, quantizer = SIGNS[case.gradient]()
    set_ede(quantizer, case.t, case.k)
    x = torch.tensor(INPUTS, requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.5, 1.0, -1.0, 2.0, 1.0])

    y = quantizer(x)
    y.backward(upstream)

    assert y.tolist() == OUTPUTS
    expected = torch.tensor(case.expected) * upstream
    torch.testing.assert_close(x.grad, expected, rtol=0, atol=2e-6)


def test_rbnn_lets_activations_have_no_smaller_t_and_no_larger_k() -> None:
    activations, weights = SIGNS["rbnn"]()
    for t, k, expected in ((0.5, 2.0, (1.0, 1.0)), (3.0, 1.0, (3.0, 1.0))):
        for quantizer in (activations, weights):
            set_ede(quantizer, t, k)
        assert (activations.t.item(), activations.k.item()) == expected
        assert (weights.t.item(), weights.k.item()) == (t, k)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_zero_has_the_sign_plus_one(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).smallest_normal
    x = torch.tensor([0.0, -0.0, smallest, -smallest], dtype=dtype)

    y = sign(x)

    assert y.dtype == dtype
    assert y.tolist() == [1, 1, 1, -1]
    assert x.tolist() == [0.0, -0.0, smallest, -smallest]


def test_every_quantizer_sees_zero_as_plus_one() -> None:
    zeros = torch.zeros(2, 1, 2, 2)
    for quantizers in SIGNS.values():
        assert all((quantizer(zeros) == 1).all() for quantizer in quantizers())
    # 3 is the mean of the filter: standardized it is exactly 0.
    weight = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    assert power_of_two_weight(weight, sign).flatten().tolist() == [-0.5, -0.5, 0.5, 0.5]
    with_zero = torch.tensor([0.0, -1.0, -0.0, 3.0]).reshape(1, 1, 2, 2)
    assert mean_absolute_weight(with_zero).flatten().tolist() == [1, -1, 1, 1]


@pytest.mark.parametrize(
    ("epoch", "epochs", "t_min", "t_max", "t", "k"),
    [
        (0, 400, 0.01, 10, 0.01, 100),
        (100, 400, 0.01, 10, 10**-1.25, 17.7827941),
        (200, 400, 0.01, 10, 0.316227766, 3.16227766),
        (300, 400, 0.01, 10, 1.77827941, 1),
        (399, 400, 0.01, 10, 9.82878873, 1),
        (0, 14, 0.1, 2, 0.1, 10),
        (7, 14, 0.1, 2, 0.447213595, 2.23606798),
        (0, 1, 2.0, 2.0, 2.0, 1),
    ],
)
def test_ede_schedule(
    epoch: int, epochs: int, t_min: float, t_max: float, t: float, k: float
) -> None:
    assert ede_schedule(epoch, epochs, t_min, t_max) == pytest.approx((t, k), rel=1e-8)


def test_set_ede_reaches_every_sign_and_is_not_saved() -> None:
    model = nn.Sequential(conv(), nn.ReLU(), conv(4), conv(4, sign_gradient="clipped"))

    set_ede(model, 0.25, 4.0)

    signs = [module for module in model.modules() if isinstance(module, EdeSign)]
    assert [(module.t.item(), module.k.item()) for module in signs] == [(0.25, 4.0)] * 2
    assert set(model.state_dict()) == {"0.weight", "2.weight", "3.weight"}


def test_power_of_two_scales() -> None:
    """By hand: mean|w_hat| is 0.6944, so the scale is 1/2; 0.8660, so 1; 0 without spread."""
    filters = [[1.0, 2, 3, 6], [-1.0, -1, 1, 1], [0.0, 0, 0, 0]]
    weight = torch.tensor(filters).reshape(3, 1, 2, 2)
    one_outlier = torch.tensor([0.0] * 15 + [16.0]).reshape(1, 1, 4, 4)

    quantized = power_of_two_weight(weight, sign).flatten(1)

    assert quantized.tolist() == [[-0.5, -0.5, 0.5, 0.5], [-1, -1, 1, 1], [0, 0, 0, 0]]
    # c = -1 x15, 15; std = 4; mean|w_hat| = (15 + 15) / 4 / 16 = 0.46875, its log2 -1.09.
    outlier = power_of_two_weight(one_outlier, sign).flatten().tolist()
    assert outlier == [-0.5] * 15 + [0.5]


def ir_net_weight(weight: torch.Tensor, t: float, k: float) -> torch.Tensor:
    """METHOD's formula, word by word, with a surrogate whose autograd is EDE's."""
    centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    standardized = centred / weight.flatten(1).std(dim=1)[:, None, None, None]
    mean = standardized.detach().abs().mean(dim=(1, 2, 3), keepdim=True)
    scale = 2 ** torch.log2(mean).round()
    surrogate = k * torch.tanh(t * standardized)
    hard = torch.where(standardized >= 0, 1.0, -1.0).double()
    return (hard + surrogate - surrogate.detach()) * scale


@pytest.mark.parametrize(("t", "k"), [(0.1, 10.0), (1.5, 1.0)])
@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (6, 3, 1, 1)])
def test_power_of_two_agrees_with_the_formula(shape: tuple[int, ...], t: float, k: float) -> None:
    weight = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight = weight.requires_grad_()
    upstream = torch.linspace(-1, 2, weight.numel(), dtype=torch.float64).reshape(shape)
    ede = EdeSign().double()
    set_ede(ede, t, k)

    ours = power_of_two_weight(weight, ede)
    (gradient,) = torch.autograd.grad(ours, weight, upstream)
    theirs = ir_net_weight(weight, t, k)
    (expected,) = torch.autograd.grad(theirs, weight, upstream)

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)  # t is a float32


@pytest.mark.parametrize("shape", [(2, 3, 3, 3), (4, 1, 1, 1), (4, 2, 1, 1)])
def test_constant_filters_stay_finite(shape: tuple[int, ...]) -> None:
    weight = torch.full(shape, 0.5, requires_grad=True)

    quantized = power_of_two_weight(weight, EdeSign())
    quantized.sum().backward()

    assert (quantized == 0).all()
    assert (weight.grad == 0).all()


def test_mean_absolute_weight() -> None:
    weight = torch.tensor([[0.5, -1.0, 2.0, -0.5], [0.1, 0.1, -0.1, 0.5]]).reshape(2, 1, 2, 2)
    weight = weight.requires_grad_()
    upstream = torch.arange(1.0, 9.0).reshape(2, 1, 2, 2)

    quantized = mean_absolute_weight(weight)
    quantized.backward(upstream)

    expected = torch.tensor([[1.0, -1.0, 1.0, -1.0], [0.2, 0.2, -0.2, 0.2]])
    torch.testing.assert_close(quantized.flatten(1), expected)
    assert weight.grad.flatten(1).tolist() == [[1, 2, 0, 4], [5, 6, 7, 8]]


@pytest.mark.parametrize("weight_scale", ["power_of_two", "mean_absolute"])
@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_binary_convolution_quantizes_what_it_is_told(
    weights: bool, activations: bool, weight_scale: str
) -> None:
    layer = conv(weights=weights, activations=activations, weight_scale=weight_scale)
    x = torch.randn(2, 3, 6, 6)
    seen = layer.quantized_input(x)
    used = layer.quantized_weight()

    assert seen.unique().numel() == (2 if activations else x.numel())
    for filters in used:
        assert filters.abs().unique().numel() == (1 if weights else filters.numel())
    expected = nn.functional.conv2d(seen, used, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_weight_scale_selects_the_weights_gradient() -> None:
    """ReActNet's form clips |w| > 1 whatever `sign_gradient` says; IR-Net's follows it."""
    weight = torch.linspace(-2, 2, 27).reshape(1, 3, 3, 3)
    gradients = {}
    for scale in ("power_of_two", "mean_absolute"):
        for gradient in ("ede", "clipped"):
            layer = conv(filters=1, weight_scale=scale, sign_gradient=gradient)
            layer.weight.data = weight.clone()
            layer.quantized_weight().backward(torch.ones_like(weight))
            gradients[scale, gradient] = layer.weight.grad

    clipped = (weight.abs() <= 1).float()
    assert torch.equal(gradients["mean_absolute", "ede"], clipped)
    assert torch.equal(gradients["mean_absolute", "clipped"], clipped)
    ir_net = [gradients["power_of_two", name] for name in ("ede", "clipped")]
    assert not torch.allclose(ir_net[0], ir_net[1])


def test_memory_format_changes_neither_values_nor_layout() -> None:
    layer = conv(channels=8, filters=8)
    x = torch.randn(2, 8, 5, 5)
    expected = layer(x)

    layer = layer.to(memory_format=torch.channels_last)
    y = layer(x.to(memory_format=torch.channels_last))

    torch.testing.assert_close(y, expected)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert layer.quantized_weight().is_contiguous(memory_format=torch.channels_last)


def test_a_schedule_that_falls_is_allowed() -> None:
    t, _ = ede_schedule(1, 2, 2.0, 0.5)
    assert math.isclose(t, 1.0)
