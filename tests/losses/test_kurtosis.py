import math

import numpy as np
import pytest
import scipy.stats
import torch

from pipeline.losses.kurtosis import kurtosis, kurtosis_loss

DRAWS = {
    "gaussian": lambda g: g.normal(0.3, 0.02, (16, 8, 3, 3)),
    "uniform": lambda g: g.uniform(-1, 2, (500,)),
    "bimodal": lambda g: g.choice([-0.1, 0.1], (64, 9)) + g.normal(0, 0.01, (64, 9)),
    "heavy tails": lambda g: g.standard_t(3, (32, 32, 1, 1)),
    "five": lambda g: g.normal(0, 1, (5,)),
}


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("draw", DRAWS)
def test_agrees_with_scipy(draw: str) -> None:
    array = DRAWS[draw](np.random.default_rng(7))
    n = array.size

    ours = kurtosis(torch.from_numpy(array)).item()

    biased = scipy.stats.kurtosis(array, axis=None, fisher=False)
    assert ours == pytest.approx(biased * ((n - 1) / n) ** 2, rel=1e-10, abs=0)


def test_by_hand() -> None:
    """0 x3, 4: mean 1, unbiased variance 4, fourth moment (3 + 81) / 4 = 21, K = 21 / 16."""
    assert kurtosis(torch.tensor([0.0, 0, 0, 4])).item() == pytest.approx(21 / 16)
    symmetric = torch.tensor([-1.0, 1.0]).repeat(5000)
    assert kurtosis(symmetric).item() == pytest.approx(1, abs=3e-4)


def test_float32_is_accurate_for_a_large_layer() -> None:
    weight = doubles(512, 512, 3, 3) * 0.02 + 0.001
    single = weight.detach().float().requires_grad_()

    value, expected = kurtosis(single), kurtosis(weight)
    (gradient,) = torch.autograd.grad(value, single)
    (exact,) = torch.autograd.grad(expected, weight)

    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    assert ((gradient - exact).norm() / exact.norm()).item() < 1e-5


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (7,)])
def test_gradcheck(shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(kurtosis, (doubles(*shape) * 0.1 + 0.5,))


@pytest.mark.parametrize("aggregate", ["mean", "sum", "max"])
def test_gradcheck_of_the_loss(aggregate: str) -> None:
    weights = (doubles(4, 3, 2, 2), doubles(5, 2, 1, 1, seed=1), doubles(11, seed=2))

    def loss(*weights: torch.Tensor) -> torch.Tensor:
        return kurtosis_loss(weights, (1.4, 1.8, 2.2), aggregate)

    assert torch.autograd.gradcheck(loss, weights)


def test_aggregates() -> None:
    weights = [torch.tensor([0.0, 0, 0, 4]), torch.tensor([0.0, 4, 4, 4]), torch.tensor([1.0, 2])]
    # K is 21/16 twice and, of two values, (1/16) / (1/4) = 1/4.
    targets = (21 / 16 + 1, 21 / 16 - 2, 0.25)
    losses = {
        aggregate: kurtosis_loss(weights, targets, aggregate).item()
        for aggregate in ("mean", "sum", "max")
    }
    assert losses == pytest.approx({"mean": 5 / 3, "sum": 5, "max": 4})
    as_tensor = kurtosis_loss(weights, torch.tensor(targets), "sum").item()
    assert as_tensor == pytest.approx(5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_descent_reaches_the_target(layout: torch.memory_format) -> None:
    weight = doubles(8, 8, 3, 3).detach().float().to(memory_format=layout).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        kurtosis_loss([weight], (1.2,), "mean").backward()
        optimizer.step()
    assert kurtosis(weight).item() == pytest.approx(1.2, abs=0.01)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4, 1e-8])
@pytest.mark.parametrize("aggregate", ["mean", "sum", "max"])
def test_a_layer_without_spread_is_not_hidden(value: float, aggregate: str) -> None:
    """0.1 has a rounded mean: without a guard its rounding error has a kurtosis of 1."""
    constant = torch.full((3, 7), value, requires_grad=True)

    loss = kurtosis_loss([torch.randn(50), constant, torch.randn(50)], (1.8,) * 3, aggregate)
    loss.backward()

    alone = kurtosis(constant)
    assert math.isnan(alone.item())
    assert torch.autograd.grad(alone, constant)[0].isnan().all()
    assert math.isnan(loss.item())
