"""Sorting the weights of many layers, in a small part of the time of torch.sort on a CPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

_INDEX_MASK = (1 << 29) - 1


class _SortAll(Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        values, orders = zip(*_sorted_with_order([t.flatten() for t in tensors]), strict=True)
        ctx.save_for_backward(*orders)
        ctx.shapes = [tensor.shape for tensor in tensors]
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            torch.empty_like(gradient).scatter_(0, order, gradient).view(shape)
            for gradient, order, shape in zip(gradients, ctx.saved_tensors, ctx.shapes, strict=True)
        )


@torch.compiler.disable
def sort_all(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The elements of each tensor in ascending order; gradients flow back through the sort.

    Args:
        tensors: any shapes, less than 2^28 elements each.

    Returns:
        For each a 1-d tensor of the same dtype. The bits do not depend on the number of threads.
    """
    return _SortAll.apply(*tensors)


def _sorted_with_order(tensors: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Sorted values and int64 positions that they came from, of 1-d tensors."""
    if any(t.device.type != "cpu" or t.dtype != torch.float32 for t in tensors):
        return [torch.sort(tensor) for tensor in tensors]
    largest_first = sorted(range(len(tensors)), key=lambda i: -tensors[i].numel())
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        jobs = {i: pool.submit(_sort_packed, tensors[i].numpy()) for i in largest_first}
    return [
        (torch.from_numpy(values), torch.from_numpy(order))
        for values, order in (jobs[i].result() for i in range(len(tensors)))
    ]


def _sort_packed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort float32 values and say where they came from, by one vectorized sort of float64.

    A float32 leaves the low 29 bits of a float64 empty. The position goes there: it never changes
    the order of two different values, and rounding back to float32 drops it. numpy sorts float64
    with SIMD instructions, and outside the interpreter's lock; it has nothing as quick that sorts
    and returns positions, nor has torch.
    """
    keys = values.astype(np.float64)
    bits = keys.view(np.int64)
    bits |= np.arange(keys.size)
    keys.sort()
    ordered = keys.astype(np.float32)
    bits &= _INDEX_MASK
    return ordered, bits
