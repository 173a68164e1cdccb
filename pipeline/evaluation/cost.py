"""The cost of a network: parameters, bits, and operations for one image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.binary import BinaryConv2d
from pipeline.models.layers import binary_convolutions

REAL_BITS = 32


@dataclass(frozen=True)
class Cost:
    """Size of a network and work for one image."""

    parameters: int
    """Weights and biases of all layers; batch norms, shifts and slopes included."""
    bits: int
    """Bits to store them; see `storage_bits`."""
    binary_operations: int
    """Multiply-accumulates of convolutions whose weights and input are both one bit: XNOR and
    popcount on a machine that has them."""
    real_operations: int
    """Multiply-accumulates of all other convolutions and of linear layers."""


def cost(model: nn.Module, image_shape: tuple[int, int, int]) -> Cost:
    """Cost of `model`, which is left in evaluation mode, for one image (C, H, W).

    Args:
        model: On the CPU.
        image_shape: Channels, height and width.
    """
    binary, real = operations(model, image_shape)
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bits=storage_bits(model),
        binary_operations=binary,
        real_operations=real,
    )


def storage_bits(model: nn.Module) -> int:
    """Bits of the parameters as they would be stored for use.

    Each real parameter takes 32, including those of batch norms and shifts; each binary weight
    takes 1, and the scale of each filter of binary weights 32. A power-of-two scale would fit in 8;
    32 keeps the weight scales comparable. The running statistics of a batch norm fold into its
    weight and bias, so they are not counted. Source: METHOD [inferred].
    """
    binary = [
        layer.weight for layer in binary_convolutions(model).values() if layer.binarization.weights
    ]
    one_bit = sum(weight.numel() for weight in binary)
    scales = sum(len(weight) for weight in binary)
    total = sum(parameter.numel() for parameter in model.parameters())
    return one_bit + REAL_BITS * (scales + total - one_bit)


def operations(model: nn.Module, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Count multiply-accumulates for one image, binary and real, in a pass of a blank image.

    Convolutions and linear layers count, positions in the padding included; batch norms, scales,
    shifts, skips, activations and pooling do not. Source: METHOD [field].
    """
    counts = {True: 0, False: 0}

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        # A convolution's weight is (filters, channels / groups, height, width), a linear layer's
        # (outputs, inputs): each output element takes as many operations as one filter has weights.
        weight = layer.weight
        assert isinstance(weight, Tensor)
        counts[_is_binary(layer)] += output.numel() * weight[0].numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *image_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return counts[True], counts[False]


def _is_binary(layer: nn.Module) -> bool:
    return (
        isinstance(layer, BinaryConv2d)
        and layer.binarization.weights
        and layer.binarization.activations
    )
