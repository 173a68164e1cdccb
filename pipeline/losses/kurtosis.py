"""The kurtosis loss, which draws the weights of each layer towards a chosen shape."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from pipeline.losses.products import dot


class _Kurtosis(Function):
    """Kurtosis with its gradient in closed form: a third of autograd's passes over the weights.

    With the central moments m2, m3, m4 and s^2 = m2 n / (n - 1):
    K = m4 / s^4, dK/dw = 4 / (n s^4) (c^3 - m3 - c m4 / m2), c = w - mean w.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        value, *moments = _with_moments(weight)
        ctx.save_for_backward(*moments)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        centred, m2, m3, m4, s4 = ctx.saved_tensors
        factor = 4 * gradient / (centred.numel() * s4)
        return centred.square().sub_(m4 / m2).mul_(centred).sub_(m3).mul_(factor)


def _with_moments(weight: Tensor) -> tuple[Tensor, ...]:
    """K, and c, m2, m3, m4 and s^4 of `_Kurtosis`; K and s^4 are NaN where there is no spread."""
    n = weight.numel()
    mean = weight.mean()
    centred = weight - mean
    power = centred.square()
    m2 = power.mean()
    m3 = dot(power, centred) / n
    m4 = dot(power, power) / n
    rounding = 8 * torch.finfo(weight.dtype).eps * mean
    has_spread = torch.where(m2 > rounding.square(), 1.0, torch.nan)
    s4 = (m2 * (n / (n - 1))).square() * has_spread
    return m4 / s4, centred, m2, m3, m4, s4


def kurtosis(weight: Tensor) -> Tensor:
    """Kurtosis of all elements of a tensor.

    K(W) = mean(((W - mean W) / std W)^4) with the unbiased std; 1.8 for a uniform distribution, 3
    for a Gaussian, 1 at least (for n elements ((n - 1) / n)^2, because of the unbiased std).
    Source: METHOD [released]; SciPy's kurtosis(fisher=False) has the biased std and is n^2 /
    (n - 1)^2 times as large.

    Args:
        weight: any shape, floating point. Differentiable once.

    Returns:
        0-d tensor. NaN, with a NaN gradient, where the elements are equal up to rounding: nothing
        has a kurtosis there.
    """
    if torch.compiler.is_compiling():  # which derives as few passes, and shares them with others
        return _with_moments(weight)[0]
    return _Kurtosis.apply(weight)


def kurtosis_loss(
    weights: Sequence[Tensor],
    targets: Sequence[float] | Tensor,
    aggregate: Literal["mean", "sum", "max"],
) -> Tensor:
    """Aggregate over layers of (K(W_l) - K_T,l)^2.

    Source: METHOD [released]; the formula is KURE's (arXiv 2002.07686).

    Args:
        weights: of each layer, any shapes.
        targets: of each layer; a tensor already on the weights' device saves a copy per step.
        aggregate: over the layers.

    Returns:
        0-d tensor. One layer without spread makes it NaN, whatever the aggregate.
    """
    values = torch.stack([kurtosis(weight) for weight in weights])
    distances = (values - torch.as_tensor(targets, dtype=values.dtype, device=values.device)) ** 2
    if aggregate == "mean":
        return distances.mean()
    if aggregate == "sum":
        return distances.sum()
    return distances.max()
