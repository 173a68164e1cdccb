"""How the weights of each layer are distributed.

All statistics are of the latent weights, in float64, so that a full-precision network and its
binary twin are measured alike. The layers are those under the kurtosis loss.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.evaluation.modes import modes
from pipeline.losses.kurtosis import kurtosis
from pipeline.losses.mimicking import quantile_distance
from pipeline.models.binary import BinaryConv2d, sign
from pipeline.models.layers import regularized_convolutions

NEAR_ZERO = 0.1
"""Largest |w| that is near zero, as a share of the layer's mean |w|."""
HISTOGRAM_EDGES: tuple[float, ...] = tuple(np.linspace(-3, 3, 61).round(1).tolist())
"""Edges of 60 bins, in standard deviations of the layer."""


@dataclass(frozen=True)
class LayerStatistics:
    """Weight distribution of one layer."""

    name: str
    elements: int
    binary: bool
    """Whether the network uses one bit of each weight."""
    kurtosis: float
    target: float | None
    """K_T of the kurtosis loss, if the network was trained with it."""
    near_zero_share: float
    binarization_error: float
    teacher_distance: float
    """`quantile_distance` (squared 2-Wasserstein, of the weights as they are) to the same layer of
    the reference."""
    teacher_distance_relative: float
    """The same, divided by the variance of the weights of the reference."""
    dip: float
    """Hartigans' dip statistic, see `modes`."""
    dip_p_value: float
    valley_depth: float
    two_modes: bool


def layer_statistics(
    model: nn.Module, targets: Mapping[str, float], reference: nn.Module
) -> list[LayerStatistics]:
    """Statistics of every regularized layer, in module order.

    Args:
        model: On the CPU.
        targets: Kurtosis target by layer name, without layers that have none.
        reference: Network with the same topology whose weight distribution is compared.

    Raises:
        UserError: weights of a layer are constant or not finite, so that they have no kurtosis.
    """
    references = regularized_convolutions(reference)
    return [
        _statistics(name, layer, targets.get(name), references[name])
        for name, layer in regularized_convolutions(model).items()
    ]


def _statistics(
    name: str, layer: nn.Conv2d, target: float | None, reference: nn.Conv2d
) -> LayerStatistics:
    weight = layer.weight.detach().double()
    value = kurtosis(weight).item()
    if not math.isfinite(value):
        raise UserError(f"{name}.weight has no kurtosis: it is constant or not finite")
    teacher = reference.weight.detach().double()
    variance = teacher.var().item()
    if not variance > 0:
        raise UserError(f"{name}.weight of the reference has no variance: it is constant")
    distance = quantile_distance(_sorted(weight), _sorted(teacher)).item()
    return LayerStatistics(
        name=name,
        elements=weight.numel(),
        binary=isinstance(layer, BinaryConv2d) and layer.binarization.weights,
        kurtosis=value,
        target=target,
        near_zero_share=near_zero_share(weight),
        binarization_error=binarization_error(weight),
        teacher_distance=distance,
        teacher_distance_relative=distance / variance,
        **asdict(modes(weight.flatten().numpy())),
    )


def _sorted(weight: Tensor) -> Tensor:
    return weight.flatten().sort().values


def near_zero_share(weight: Tensor) -> float:
    """Share of weights near zero: |w| < 0.1 mean|w|, where the mean is taken over the layer.

    Their signs are fragile: a small update flips them. It is 0.05 for a uniform distribution around
    0, 0.064 for a Gaussian one, and 0 where all weights sit in two modes. Source: METHOD
    [inferred].
    """
    magnitude = weight.abs()
    return (magnitude < NEAR_ZERO * magnitude.mean()).double().mean().item()


def binarization_error(weight: Tensor) -> float:
    """Share of the weights' energy that one bit loses: ||w - alpha sign(w)||^2 / ||w||^2.

    alpha = mean|w| of each output filter, which minimizes ||w - alpha sign(w)||^2 for that filter
    (XNOR-Net, arXiv 1603.05279, equation 6), so the error depends on the shape of the distribution
    and not on how well a network's own scale fits. sign(0) = +1. The error is 0 for +-alpha, 1/4
    for a uniform distribution around 0, and 1 - 2/pi for a Gaussian one.

    Args:
        weight: (filters, channels, height, width), not all zero.
    """
    filters = weight.flatten(1)
    alpha = filters.abs().mean(1, keepdim=True)
    lost = filters - alpha * sign(filters)
    return (lost.square().sum() / filters.square().sum()).item()


def standardized_histogram(weight: Tensor) -> list[int]:
    """Counts of (w - mean w) / std w of a layer (unbiased std) in the bins of HISTOGRAM_EDGES.

    The outer bins take what lies beyond them, so the counts sum to the number of weights.
    """
    values = weight.detach().double().flatten()
    standardized = (values - values.mean()) / values.std()
    low, high = HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1]
    counts, _ = np.histogram(standardized.clamp(low, high).numpy(), HISTOGRAM_EDGES)
    return counts.tolist()
