"""Values of equal rank, in a small part of the time that torch.sort needs on a CPU."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

_POSITION_MASK = (1 << 29) - 1


def values_of_equal_rank(
    tensors: Sequence[Tensor], sorted_values: Sequence[Tensor]
) -> list[Tensor]:
    """For each element of a tensor, the one of the same rank in a list of sorted values.

    The smallest element gets the smallest value, and so on; equal elements share theirs out in some
    order. On a CPU float32 tensors are sorted at the same time, on as many threads as torch has;
    the bits do not depend on their number.

    Args:
        tensors: any shapes, less than 2^28 elements each.
        sorted_values: for each tensor as many values, 1-d, ascending, same dtype and device.

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


def _by_torch(tensor: Tensor, sorted_values: Tensor) -> Tensor:
    order = tensor.flatten().argsort()
    return torch.empty_like(sorted_values).scatter_(0, order, sorted_values).view(tensor.shape)


def _by_numpy(tensor: Tensor, sorted_values: Tensor, positions: np.ndarray) -> Tensor:
    """By one vectorized sort of float64.

    A float32 leaves the low 29 bits of a float64 empty. The element's position goes there: it never
    changes the order of two different elements. numpy sorts float64 with SIMD instructions and
    outside the interpreter's lock; neither it nor torch has as quick a sort that returns positions.
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
