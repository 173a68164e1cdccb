"""Building blocks of the losses that make few passes over the weights.

In eager mode the plain formulas make about three times as many passes as needed, so the functions
here have their gradients in closed form and sum products by dot products. torch.compile needs
neither, because it fuses the plain form with its neighbours. `_choose` decides between the two.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_DOT_ELEMENTS = 2**16
"""Number of elements whose products one float32 dot product can sum without losing precision."""
_POSITION_MASK = (1 << 29) - 1


def standardized_fourth_moment(weight: Tensor) -> Tensor:
    """m4 / s^4 of all elements, 0-d, with the central moment m4 and the unbiased variance s^2.

    Differentiable once. NaN, with a NaN gradient, where the elements are equal up to rounding.

    Args:
        weight: any shape, floating point.
    """
    return _choose(lambda w: _with_moments(w)[0], _FourthMoment, weight)


def mean_squared_difference(first: Tensor, second: Tensor) -> Tensor:
    """mean((first - second)^2), 0-d, without gradient for `second`.

    Args:
        first: dense, any shape. Differentiable once.
        second: same shape, memory format and dtype.
    """
    return _choose(F.mse_loss, _MeanSquaredDifference, first, second)


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Sum of the elementwise products of two tensors.

    On a CPU it is a sum of dot products of short pieces: (first * second).sum() would write all
    products to new memory, which takes longer than everything else, and a single dot product of
    millions of float32 elements is wrong in the fourth digit.

    Args:
        first: dense, any shape and memory format.
        second: same shape, memory format and dtype.

    Returns:
        0-d tensor.
    """
    if first.is_cuda or torch.compiler.is_compiling():
        return (first * second).sum()
    flat = _in_memory_order(first), _in_memory_order(second)
    pieces = zip(*(each.split(_DOT_ELEMENTS) for each in flat), strict=True)
    return torch.stack([a.dot(b) for a, b in pieces]).sum()


def values_of_equal_rank(
    tensors: Sequence[Tensor], sorted_values: Sequence[Tensor]
) -> list[Tensor]:
    """Map each element of a tensor to the value of the same rank in a list of sorted values.

    The smallest element gets the smallest value, and so on; equal elements get theirs in some
    order. On a CPU this takes a small fraction of the time of torch.sort, because float32 tensors
    are sorted in parallel, on as many threads as torch has. The bits do not depend on the number of
    threads.

    Args:
        tensors: any shapes, less than 2^28 elements each.
        sorted_values: for each tensor as many values as it has elements, 1-d, ascending, same dtype
            and device.

    Returns:
        For each tensor one of the same shape, dtype and memory format, without gradient.
    """
    pairs = [(t.detach(), values) for t, values in zip(tensors, sorted_values, strict=True)]
    if any(tensor.is_cuda or tensor.dtype != torch.float32 for tensor in tensors):
        return [_by_torch(tensor, values) for tensor, values in pairs]
    positions = np.arange(max(tensor.numel() for tensor in tensors))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = {
            i: pool.submit(_by_numpy, *pairs[i], positions)
            for i in sorted(range(len(pairs)), key=lambda i: -tensors[i].numel())
        }
    return [jobs[i].result() for i in range(len(pairs))]


def _choose(plain: Callable[..., Tensor], closed_form: type[Function], *tensors: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return plain(*tensors)
    return closed_form.apply(*tensors)


class _FourthMoment(Function):
    """K with its gradient in closed form, in a third of autograd's passes over the weights.

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
    """K, and c, m2, m3, m4 and s^4 of `_FourthMoment`; K and s^4 are NaN without spread."""
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


class _MeanSquaredDifference(Function):
    """F.mse_loss without gradient for the target, in half the time."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        difference = first - second
        ctx.save_for_backward(difference)
        return dot(difference, difference) / difference.numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 * gradient / difference.numel()), None


def _in_memory_order(tensor: Tensor) -> Tensor:
    """The elements of a dense tensor, 1-d."""
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def _by_torch(tensor: Tensor, sorted_values: Tensor) -> Tensor:
    order = tensor.flatten().argsort()
    return torch.empty_like(sorted_values).scatter_(0, order, sorted_values).view(tensor.shape)


def _by_numpy(tensor: Tensor, sorted_values: Tensor, positions: np.ndarray) -> Tensor:
    """Compute `values_of_equal_rank` of a float32 tensor by one vectorized sort of float64.

    A float32 value leaves the low 29 bits of a float64 empty. The element's position goes there,
    where it never changes the order of two different elements. numpy sorts float64 with SIMD
    instructions and outside the interpreter's lock; neither numpy nor torch has an equally fast
    sort that returns positions.
    """
    dimensions = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    in_memory_order = tensor.permute(dimensions)
    keys = in_memory_order.reshape(-1).numpy().astype(np.float64)
    bits = keys.view(np.int64)
    bits |= positions[: keys.size]
    keys.sort()
    bits &= _POSITION_MASK
    ranked = np.empty(keys.size, np.float32)
    ranked[bits] = sorted_values.numpy()
    back = [dimensions.index(dimension) for dimension in range(tensor.dim())]
    return torch.from_numpy(ranked).view(in_memory_order.shape).permute(back)
