"""The field's binary convolution, computed in separate passes as in IR-Net's released form.

Its results equal ours, but nothing is fused or reused: mean, standard deviation and scale each take
a pass over the weights, and the gradient of EDE is computed as 1 - tanh^2, operation by operation.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from pipeline.models.binary import BinaryConv2d, EdeSign, sign
from pipeline.models.layers import binary_convolutions


class _BinaryQuantize(Function):
    """Sign with EDE's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, k: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(x, k, t)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, k, t = ctx.saved_tensors
        return k * t * (1 - torch.pow(torch.tanh(x * t), 2)) * gradient, None, None


class UsualBinaryConv2d(BinaryConv2d):
    """Convolution with binary weights and activations, standardization and power-of-two scale."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        assert isinstance(self.sign, EdeSign)
        weight = self.weight
        filters = weight.size(0)
        centred = weight - weight.view(filters, -1).mean(-1).view(filters, 1, 1, 1)
        standardized = centred / centred.view(filters, -1).std(-1).view(filters, 1, 1, 1)
        mean = standardized.abs().view(filters, -1).mean(-1)
        exponent = (torch.log(mean) / math.log(2)).round().float()
        scale = torch.pow(torch.tensor([2.0] * filters, device=weight.device), exponent)
        binary_weight = _BinaryQuantize.apply(standardized, self.sign.k, self.sign.t)
        binary_input = _BinaryQuantize.apply(input, self.sign.k, self.sign.t)
        return F.conv2d(
            binary_input,
            binary_weight * scale.view(filters, 1, 1, 1).detach(),
            None,
            self.stride,
            self.padding,
        )


def use_usual_layers(model: nn.Module) -> nn.Module:
    """Make every binary convolution of `model` compute in the usual passes, in place."""
    for convolution in binary_convolutions(model).values():
        convolution.__class__ = UsualBinaryConv2d
    return model
