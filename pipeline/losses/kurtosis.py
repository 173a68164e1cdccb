"""The kurtosis loss, which draws the weights of each layer towards a chosen shape."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pipeline.losses.kernels import standardized_fourth_moment


def kurtosis(weight: Tensor) -> Tensor:
    """Kurtosis of all elements of a tensor.

    K(W) = mean(((W - mean W) / std W)^4) with the unbiased std. It is 1.8 for a uniform
    distribution, 3 for a Gaussian, and at least 1 (for n elements ((n - 1) / n)^2, because of the
    unbiased std). Source: METHOD [released]; SciPy's kurtosis(fisher=False) uses the biased std and
    is n^2 / (n - 1)^2 times as large.

    Args:
        weight: any shape, floating point. Differentiable once.

    Returns:
        0-d tensor. NaN, with a NaN gradient, where the elements are equal up to rounding and the
        kurtosis is undefined.
    """
    return standardized_fourth_moment(weight)


def kurtosis_loss(
    weights: Sequence[Tensor],
    targets: Sequence[float] | Tensor,
    aggregate: Literal["mean", "sum", "max"],
) -> Tensor:
    """Aggregate over layers of (K(W_l) - K_T,l)^2.

    Source: METHOD [released]; the formula is KURE's (arXiv 2002.07686).

    Args:
        weights: weights of each layer, any shapes.
        targets: target of each layer; a tensor that is already on the weights' device saves a copy
            in each step.
        aggregate: how the terms of the layers are combined.

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
