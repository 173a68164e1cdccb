"""Binary convolutions: the sign, the gradient that replaces its own, and the weight scale.

The real weights that training updates are the latent weights; `BinaryConv2d` keeps them as its
`weight`, so a binary network has the state_dict of its full-precision twin. It convolves with their
quantized form, which each forward pass computes anew.

The forward methods below never return a tensor that they changed in place: torch 2.11 silently
compiles such methods to a gradient of zero.

To add a sign gradient, add a module that maps a tensor to its sign, an entry in `SIGNS`, and its
name in `pipeline.params.Binarization`.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from pipeline.params import Binarization

_FILTER = (1, 2, 3)
"""Dimensions of a weight tensor that make up one filter."""


def sign(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1, in the shape and dtype of x. Both 0.0 and -0.0 give +1.

    torch.sign maps 0 to 0, a third value that no 1-bit format holds. This is the only place that
    sets the convention. No gradient passes through this function.
    """
    return torch.sign(torch.sign(x).add_(0.5))


class _EdeSign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(x, t, k)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, t, k = ctx.saved_tensors
        # 1 - tanh^2(z) = 4 s (1 - s) with s = sigmoid(2 z), and sigmoid takes a quarter of the
        # time; sigmoid_backward(g, s) is g s (1 - s), in one pass.
        sigmoid = (2 * t * x).sigmoid_()
        return torch.ops.aten.sigmoid_backward(gradient, sigmoid).mul_(4 * k * t), None, None


class EdeSign(nn.Module):
    """Sign with the error decay estimator: backward k t (1 - tanh^2(t x)).

    Source: IR-Net (arXiv 1909.10788), its released code; METHOD [released] has only the schedule of
    t and k. Both are 0-d tensors that `set_ede` writes each epoch, so that a compiled network is
    not compiled again. Until then t = k = 1.
    """

    t: Tensor
    k: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(1.0), persistent=False)
        self.register_buffer("k", torch.tensor(1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sign of x, any shape."""
        return _EdeSign.apply(x, self.t, self.k)


class _RbnnSign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, k: Tensor) -> Tensor:
        ctx.save_for_backward(x, t, k)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, t, k = ctx.saved_tensors
        slope = x.abs().mul_(-(t**2)).add_(math.sqrt(2) * t).clamp_(min=0)
        return slope.mul_(k).mul_(gradient), None, None


class RbnnSign(nn.Module):
    """Sign with RBNN's piecewise linear gradient: backward k max(0, sqrt(2) t - t^2 |x|).

    Source: RBNN (arXiv 2009.13055), its released code, which writes it as
    k (2 sqrt(t^2 / 2) - |t^2 x|); for activations it sets k = 1 and t >= 1. `set_ede` writes the
    0-d tensors `t` and `k` each epoch. Until then t = k = 1.

    Args:
        of_activations: whether it is the sign of activations, not of weights.
    """

    t: Tensor
    k: Tensor

    def __init__(self, *, of_activations: bool) -> None:
        super().__init__()
        self.of_activations = of_activations
        self.register_buffer("t", torch.tensor(1.0), persistent=False)
        self.register_buffer("k", torch.tensor(1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Sign of x, any shape."""
        return _RbnnSign.apply(x, self.t, self.k)


class _ClippedSign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient.masked_fill(x.abs() > 1, 0)


class ClippedSign(nn.Module):
    """Sign with the clipped straight-through estimator: backward 1 where |x| <= 1, else 0.

    Source: BinaryConnect / BNN (arXiv 1602.02830).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Sign of x, any shape."""
        return _ClippedSign.apply(x)


class _PolynomialSign(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return x.abs().mul_(-2).add_(2).clamp_(min=0).mul_(gradient)


class PolynomialSign(nn.Module):
    """Sign with the piecewise polynomial gradient: backward 2 - 2|x| where |x| < 1, else 0.

    Source: Bi-Real Net (arXiv 1808.00278), which uses it for activations.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Sign of x, any shape."""
        return _PolynomialSign.apply(x)


SIGNS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "ede": lambda: (EdeSign(),) * 2,
    "rbnn": lambda: (RbnnSign(of_activations=True), RbnnSign(of_activations=False)),
    "clipped": lambda: (ClippedSign(),) * 2,
    "polynomial": lambda: (PolynomialSign(),) * 2,
}
"""The sign of the activations and that of the weights: one module where they share a gradient."""


def ede_schedule(epoch: int, epochs: int, t_min: float, t_max: float) -> tuple[float, float]:
    """The two parameters of EDE in one epoch.

    t = 10^(lg t_min + (lg t_max - lg t_min) epoch / epochs), k = max(1/t, 1). t_max itself is never
    reached. Source: METHOD [released]; IR-Net's and RBNN's released codes have the same formula.

    Args:
        epoch: counted from 0.
        epochs: epochs of the whole training.
        t_min: t in epoch 0, above 0.
        t_max: t that epoch `epochs` would have, above 0.

    Returns:
        (t, k)
    """
    t = t_min * (t_max / t_min) ** (epoch / epochs)
    return t, max(1 / t, 1.0)


def set_ede(model: nn.Module, t: float, k: float) -> None:
    """Write t and k into every sign of a model whose gradient depends on them."""
    for module in model.modules():
        if isinstance(module, EdeSign):
            module.t.fill_(t)
            module.k.fill_(k)
        elif isinstance(module, RbnnSign):
            module.t.fill_(max(t, 1.0) if module.of_activations else t)
            module.k.fill_(1.0 if module.of_activations else k)


class _Standardize(Function):
    """(w - mean w) / std w per filter with the unbiased std; 0 for a filter without spread.

    Backward, where w_hat is the result: (g - mean g - w_hat sum(g w_hat) / (n - 1)) / std w.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        centred = weight - weight.mean(_FILTER, keepdim=True)
        norm = torch.linalg.vector_norm(centred, dim=_FILTER, keepdim=True)
        inverse_std = torch.where(norm > 0, math.sqrt(weight[0].numel() - 1) / norm, 0)
        standardized = centred * inverse_std
        ctx.save_for_backward(standardized, inverse_std)
        return standardized

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        standardized, inverse_std = ctx.saved_tensors
        along = (gradient * standardized).mean(_FILTER, keepdim=True)
        n = gradient[0].numel()
        along *= n / max(n - 1, 1)
        centred = gradient - gradient.mean(_FILTER, keepdim=True)
        return centred.addcmul_(standardized, along, value=-1).mul_(inverse_std)


def power_of_two_weight(weight: Tensor, sign_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Quantized weights in IR-Net's form.

    Per filter: sign(w_hat) 2^round(log2 mean|w_hat|), where w_hat = (w - mean w) / std w with the
    unbiased std. The gradient passes through the standardization and, by `sign_of`, through the
    sign; none passes through the scale. Source: IR-Net (arXiv 1909.10788), its released code. A
    filter without spread has the scale 0 and no gradient.

    Args:
        weight: latent weights (filters, channels, height, width).
        sign_of: sign with its gradient, one of `SIGNS`.

    Returns:
        Tensor of the same shape with two values, +-2^s, in each filter.
    """
    standardized = _Standardize.apply(weight)
    scale = _mean_absolute(standardized.detach()).log2_().round_().exp2_()
    return sign_of(standardized) * scale


class _MeanAbsoluteWeight(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return sign(weight) * _mean_absolute(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return gradient.masked_fill(weight.abs() > 1, 0)


def mean_absolute_weight(weight: Tensor) -> Tensor:
    """Quantized weights in ReActNet's form: alpha sign(w), alpha = mean|w| of each filter.

    Backward 1 where |w| <= 1, else 0: as in ReActNet's released code, no gradient passes through
    alpha, and the gradient is not multiplied by it. Source: ReActNet (arXiv 2003.03488); the scale
    is XNOR-Net's (arXiv 1603.05279).

    Args:
        weight: latent weights (filters, channels, height, width).

    Returns:
        Tensor of the same shape with two values, +-alpha, in each filter.
    """
    return _MeanAbsoluteWeight.apply(weight)


def _mean_absolute(weight: Tensor) -> Tensor:
    """Mean of |w| of each filter, (filters, 1, 1, 1)."""
    return weight.abs().mean(_FILTER, keepdim=True)


class BinaryConv2d(nn.Conv2d):
    """Convolution without bias whose weights, input, or both are quantized to one bit.

    `Binarization.weight_scale` chooses the form of the weights as a whole:
    - `power_of_two`: IR-Net's, `power_of_two_weight`, with `sign_gradient` for the weights as for
      the activations;
    - `mean_absolute`: ReActNet's, `mean_absolute_weight`, which has its own gradient;
      `sign_gradient` is then that of the activations alone.

    The input's sign has no scale. The input is padded after the sign, so the padding stays 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int,
        padding: int,
        binarization: Binarization,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
        )
        self.binarization = binarization
        self.sign, self.weight_sign = SIGNS[binarization.sign_gradient]()

    def quantized_weight(self) -> Tensor:
        """The weights that the convolution uses, (filters, channels, height, width)."""
        if not self.binarization.weights:
            return self.weight
        if self.binarization.weight_scale == "power_of_two":
            return power_of_two_weight(self.weight, self.weight_sign)
        return mean_absolute_weight(self.weight)

    def quantized_input(self, x: Tensor) -> Tensor:
        """The input as the convolution sees it, (batch, channels, height, width)."""
        return self.sign(x) if self.binarization.activations else x

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        return self._conv_forward(self.quantized_input(input), self.quantized_weight(), None)


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    binarization: Binarization | None,
) -> nn.Conv2d:
    """A convolution without bias that keeps the image size at stride 1.

    Args:
        in_channels: channels of the input.
        out_channels: filters.
        kernel_size: height and width, odd.
        stride: step of the filter in pixels.
        binarization: how it is quantized; None for a real one.
    """
    padding = kernel_size // 2
    if binarization is None:
        return nn.Conv2d(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False
        )
    return BinaryConv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        binarization=binarization,
    )
