"""Sum of products of the elements of two tensors."""

import torch
from torch import Tensor

_PIECE = 2**16
"""Elements whose products one float32 dot product may add up without losing precision."""


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Sum of products of elements in the same place.

    On a CPU by dot products of short pieces: (first * second).sum() writes all products to new
    memory, which takes longer than all else; one dot product of millions of float32 elements is
    wrong in the fourth digit. A compiler never writes the products.

    Args:
        first: dense, any shape and memory format.
        second: same shape, memory format and dtype.

    Returns:
        0-d tensor.
    """
    if first.is_cuda or torch.compiler.is_compiling():
        return (first * second).sum()
    pieces = zip(_flat(first).split(_PIECE), _flat(second).split(_PIECE), strict=True)
    return torch.stack([a.dot(b) for a, b in pieces]).sum()


def _flat(tensor: Tensor) -> Tensor:
    """The elements in the order of memory."""
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
