"""Translation of a network of this project into an OpenVINO model.

`torch.fx` traces the network, so that the translation follows from its layers and calls and not
from its name. To support another layer or call, write a function that translates it and mark that
function with `@_translates`.

A convolution whose weights and input are both one bit becomes a `BinaryConvolution`, which the CPU
plugin computes by XNOR and popcount. Its scale moves into the batch norm behind it. A batch norm,
shift or hardtanh that feeds nothing but a sign becomes the threshold of that sign.

The outputs of all layers equal those of `pipeline.evaluation.deployed` to the bit, with one
exception: the order in which a real 1x1 convolution sums its terms depends on the size of its
input, and in torch on the batch size as well. In the skips of the networks for ImageNet, such a
convolution precedes a sign, and a number next to a threshold may fall on the other side of it.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
import torch
from openvino import opset1, opset14
from openvino import opset8 as ops
from torch import fx, nn
from torch.nn import functional as F

from pipeline.errors import UserError
from pipeline.models.binary import BinaryConv2d
from pipeline.models.react import ChannelShift, RPReLU

SMALLEST = np.finfo(np.float32).tiny
"""Numbers nearer to zero are subnormal, and some processors are set to treat those as zero."""
LARGEST = np.float32(2**100)
"""Above all numbers that a network computes, and far enough from infinity that the engine may move
a factor from one side of a comparison to the other."""

_TRANSLATIONS: dict[Any, Callable[..., "Value"]] = {}
"""The function that translates a layer type, a function, or a method of a tensor by its name."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph: `node` times `scale`."""

    node: ov.Node
    scale: np.ndarray | None = None
    """float32 (channels,), not negative: the scale of a binary convolution, if `node` has still to
    be multiplied by it."""


@dataclass(frozen=True)
class Translated:
    """An OpenVINO model and what can be counted in it."""

    model: ov.Model
    binary_convolutions: int
    """Number of convolutions whose weights and input are both one bit."""
    folded_scales: int
    """Number of filters whose scale is part of a batch norm or of a threshold."""


def translate(
    network: nn.Module,
    image_shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> Translated:
    """Translate `network`, copying its weights.

    The model has one input, `pixels`, uint8 (1, C, H, W), which it normalizes as
    `Normalization` does for training, and one output, `logits`, float32 (1, classes). Set another
    batch size with `ov.Model.reshape`: it cannot be left open, because the CPU plugin has no
    binary convolution for an open batch size.

    Args:
        network: Network on the CPU, in evaluation mode.
        image_shape: Channels, height and width.
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel, in [0, 1].

    Raises:
        UserError: a layer or a call of the network has no translation.
    """
    pixels = ops.parameter([1, *image_shape], np.uint8)
    translator = _Translator(network, _normalized(pixels, mean, std))
    for node in _Tracer().trace(network).nodes:
        translator.add(node)
    result = ops.result(translator.output, name="logits")
    model = ov.Model([result], [pixels], "network")
    for index, node in enumerate(model.get_ordered_ops()):  # default names count across models
        node.set_friendly_name(f"{node.get_type_name()}_{index}")
    pixels.output(0).set_names({"pixels"})
    model.validate_nodes_and_infer_types()
    return Translated(model, translator.binary_convolutions, sum(translator.folded.values()))


class _Tracer(fx.Tracer):
    """Tracer that keeps the layers of this project whole, as it does those of torch."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, BinaryConv2d | ChannelShift | RPReLU)
        return ours or super().is_leaf_module(m, module_qualified_name)


class _Translator:
    """Translates the nodes of a traced network in their order.

    Args:
        network: The network that was traced.
        images: Its input, normalized.
    """

    output: ov.Node

    def __init__(self, network: nn.Module, images: ov.Node) -> None:
        self.binary_convolutions = 0
        self.folded: dict[int, int] = {}
        self._binarizes = any(isinstance(layer, BinaryConv2d) for layer in network.modules())
        self._network = network
        self._images = images
        self._values: dict[fx.Node, Value] = {}

    def add(self, node: fx.Node) -> None:
        """Translate the next node."""
        layer = self._layer(node)
        if node.op == "placeholder":
            self._values[node] = Value(self._images)
        elif node.op == "output":
            self.output = _scaled(self._argument(node))
        elif isinstance(layer, BinaryConv2d):
            self._values[node] = self._binary_convolution(node, layer)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self._values[node] = self._batch_norm(layer, self._argument(node))
        else:
            self._values[node] = self._translated(node, layer)

    def _translated(self, node: fx.Node, layer: nn.Module | None) -> Value:
        key: Any = node.target if layer is None else type(layer)
        if key not in _TRANSLATIONS:
            name = getattr(key, "__name__", key)
            raise UserError(f"{type(self._network).__name__}: {name} cannot be exported ({node})")
        own = () if layer is None else (layer,)
        values: Any = self._values
        arguments = fx.map_arg(node.args, values.__getitem__)
        return _TRANSLATIONS[key](*own, *arguments, **node.kwargs)

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self._network.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _argument(self, node: fx.Node) -> Value:
        return self._values[node.all_input_nodes[0]]

    def _binary_convolution(self, node: fx.Node, layer: BinaryConv2d) -> Value:
        weight = layer.quantized_weight().detach().numpy()
        if not layer.binarization.activations:
            return Value(_convolution(layer, _scaled(self._argument(node)), weight))
        if not layer.binarization.weights:
            return Value(_convolution(layer, _sign(_scaled(self._argument(node))), weight))
        self.binary_convolutions += 1
        padding = list(layer.padding)
        bits, swapped = self._bits(node.all_input_nodes[0], layer.in_channels)
        sums = ops.binary_convolution(
            bits,
            _one_bit((weight >= 0) ^ swapped[:, None, None]),
            strides=list(layer.stride),
            pads_begin=padding,
            pads_end=padding,
            dilations=list(layer.dilation),
            mode="xnor-popcount",
            pad_value=0.0,
        )
        return Value(sums, np.abs(weight[:, 0, 0, 0]))

    def _batch_norm(self, layer: nn.BatchNorm1d | nn.BatchNorm2d, x: Value) -> Value:
        """Translate a batch norm, with the scale of `x` in its factor if that rounds nothing."""
        factor, offset = _affine(layer)
        node = x.node
        if x.scale is not None and np.isin(np.frexp(x.scale)[0], (0, 0.5)).all():
            factor = factor * x.scale
            self._fold(x.scale)
        else:
            node = _scaled(x)
        if self._binarizes:
            node = _apart(node)
        rank = _rank(node)
        product = ops.multiply(node, _per_channel(factor, rank))
        return Value(ops.add(product, _per_channel(offset, rank)))

    def _bits(self, node: fx.Node, channels: int) -> tuple[ov.Node, np.ndarray]:
        """Sign of a node's value as a bit, computed as far back in the graph as a threshold can.

        Returns:
            The bits, 1 or 0, and bool (channels,): true where the bit 1 stands for the sign -1.
        """
        factor, offset = np.ones(channels), np.zeros(channels)
        while len(node.users) == 1 and self._is_hardtanh(node):
            node = node.all_input_nodes[0]
        layer = self._layer(node)
        if len(node.users) == 1 and isinstance(layer, nn.BatchNorm2d):
            factor, offset = (each.astype(np.float64) for each in _affine(layer))
            node = node.all_input_nodes[0]
        elif len(node.users) == 1 and isinstance(layer, ChannelShift):
            offset = layer.shift.detach().double().numpy()
            node = node.all_input_nodes[0]
        value = self._values[node]
        threshold, falling = _thresholds(factor, offset)
        if value.scale is not None:
            threshold = _before_scale(threshold, value.scale)
            self._fold(value.scale)
        limit = _per_channel(threshold[:1] if (threshold == threshold[0]).all() else threshold)
        zero, one = (_per_channel(np.array([bit])) for bit in (0, 1))
        return ops.fake_quantize(value.node, limit, limit, zero, one, levels=2), falling

    def _fold(self, scale: np.ndarray) -> None:
        """Note a scale once: a batch norm is translated even if a threshold then replaces it."""
        self.folded[id(scale)] = len(scale)

    def _is_hardtanh(self, node: fx.Node) -> bool:
        """Whether a node is a hardtanh that keeps signs: its limits are on both sides of zero."""
        layer = self._layer(node)
        if isinstance(layer, nn.Hardtanh):
            return layer.min_val < 0 < layer.max_val
        limits: Any = node.kwargs
        return node.target is F.hardtanh and limits["min_val"] < 0 < limits["max_val"]


def _thresholds(factor: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds for a float32 x that decide whether factor x + offset >= 0.

    Args:
        factor: float64 (channels,).
        offset: float64 (channels,).

    Returns:
        The thresholds, float32 (channels,), and bool (channels,): where true, the inequality holds
        for x at or below the threshold, else for x above it. A threshold just below 0 is the
        normal number nearest to 0, so that 0 and -0.0 are above it on every processor.
    """
    falling = factor < 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        root = -offset / factor
        threshold = root.astype(np.float32)
    too_high = np.where(falling, threshold > root, threshold >= root)
    threshold = np.where(too_high, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    subnormal = (threshold < 0) & (threshold > -SMALLEST)
    threshold = np.where(subnormal, -SMALLEST, np.clip(threshold, -LARGEST, LARGEST))
    constant = np.where(offset >= 0, -LARGEST, LARGEST)
    return np.where(factor == 0, constant, threshold).astype(np.float32), falling


def _before_scale(threshold: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Thresholds for x that decide whether scale x, rounded to float32, is above `threshold`.

    The quotient threshold / scale is at most two float32 numbers away from the largest x for which
    the product is not above `threshold`.

    Args:
        threshold: float32 (channels,), up to `LARGEST` in magnitude.
        scale: float32 (channels,), not negative.

    Returns:
        float32 (channels,), up to `LARGEST` in magnitude.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        quotient = np.nan_to_num(threshold / scale, nan=float(LARGEST))  # 0 / 0: never above
    candidates = [np.clip(quotient, -LARGEST, LARGEST)]
    for direction in (-np.inf, np.inf):
        near = candidates[0]
        for _ in range(2):
            near = np.nextafter(near, np.float32(direction))
            candidates.append(near)
    below = [np.where(x * scale <= threshold, x, -LARGEST) for x in candidates]
    return np.clip(np.max(below, axis=0), -LARGEST, LARGEST)


def _one_bit(positive: np.ndarray) -> ov.Node:
    """A constant with one bit for each element; the first element of a byte is its lowest bit."""
    packed = np.packbits(positive.ravel(), bitorder="little")
    tensor = ov.Tensor(packed, ov.Shape(positive.shape), ov.Type.u1)
    return ov.op.Constant(tensor, shared_memory=False)


def _sign(node: ov.Node) -> ov.Node:
    """The sign of each element as +1 or -1 in float32, for a convolution in float32."""
    positive = ops.greater_equal(node, np.float32(0))
    return ops.select(positive, np.float32(1), np.float32(-1))


def _normalized(pixels: ov.Node, mean: Sequence[float], std: Sequence[float]) -> ov.Node:
    """Pixels (1, C, H, W) at mean 0 and standard deviation 1, rounded as in training."""
    means, stds = np.array(mean, np.float32), np.array(std, np.float32)
    scaled = ops.multiply(
        ops.convert(pixels, np.float32), _per_channel(1 / (np.float32(255) * stds))
    )
    return ops.add(scaled, _per_channel(-means / stds))


def _affine(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset of each channel, float32, as torch computes them for evaluation."""
    variance = layer.running_var
    assert layer.running_mean is not None
    assert variance is not None
    one = torch.ones(1, len(variance))
    none = torch.zeros_like(variance)
    with torch.inference_mode():
        factor = F.batch_norm(one, none, variance, layer.weight, none, eps=layer.eps)
        offset = F.batch_norm(
            torch.zeros_like(one),
            layer.running_mean,
            variance,
            layer.weight,
            layer.bias,
            eps=layer.eps,
        )
    return factor[0].numpy(), offset[0].numpy()


def _per_channel(values: np.ndarray, rank: int = 4) -> ov.Node:
    """A constant, float32 (1, channels, 1, 1) or, of rank 2, (1, channels)."""
    shape = (1, -1, *(1,) * (rank - 2))
    return ops.constant(np.asarray(values, np.float32).reshape(shape))


def _rank(node: ov.Node) -> int:
    return len(node.get_output_partial_shape(0))


def _scaled(value: Value) -> ov.Node:
    """The tensor, multiplied by its scale if that is still to be done."""
    if value.scale is None:
        return value.node
    return ops.multiply(_apart(value.node), _per_channel(value.scale, _rank(value.node)))


def _apart(node: ov.Node) -> ov.Node:
    """The same tensor, which the engine now computes before it goes on.

    Otherwise it would fold the factor of a batch norm into the weights of the convolution in
    front, or multiply and add in two steps where torch rounds once; and numbers that differ in the
    last bit can differ in sign. An operation that uses a tensor twice is not fused into the
    convolution that the tensor comes from.
    """
    return ops.maximum(node, node)


def _pair(size: int | tuple[int, int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _convolution(layer: nn.Conv2d, images: ov.Node, weight: np.ndarray) -> ov.Node:
    assert layer.groups == 1
    assert not isinstance(layer.padding, str)
    padding = list(layer.padding)
    node = ops.convolution(
        images,
        ops.constant(weight),
        strides=list(layer.stride),
        pads_begin=padding,
        pads_end=padding,
        dilations=list(layer.dilation),
    )
    if layer.bias is not None:
        node = ops.add(node, _per_channel(layer.bias.detach().numpy()))
    return node


def _translates(*keys: Any) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Mark the function that translates these layer types, functions or methods."""

    def mark(translation: Callable[..., Value]) -> Callable[..., Value]:
        _TRANSLATIONS.update(dict.fromkeys(keys, translation))
        return translation

    return mark


@_translates(nn.Conv2d)
def _conv2d(layer: nn.Conv2d, x: Value) -> Value:
    return Value(_convolution(layer, _scaled(x), layer.weight.detach().numpy()))


@_translates(nn.Linear)
def _linear(layer: nn.Linear, x: Value) -> Value:
    weight = ops.constant(layer.weight.detach().numpy())
    product = ops.matmul(_scaled(x), weight, transpose_a=False, transpose_b=True)
    return Value(ops.add(product, _per_channel(layer.bias.detach().numpy(), rank=2)))


@_translates(ChannelShift)
def _channel_shift(layer: ChannelShift, x: Value) -> Value:
    return Value(ops.add(_scaled(x), _per_channel(layer.shift.detach().numpy())))


@_translates(RPReLU)
def _rprelu(layer: RPReLU, x: Value) -> Value:
    gamma, zeta = (_per_channel(each.detach().numpy()) for each in (layer.gamma, layer.zeta))
    bent = _prelu(layer.prelu, Value(ops.subtract(_scaled(x), gamma)))
    return Value(ops.add(bent.node, zeta))


@_translates(nn.PReLU)
def _prelu(layer: nn.PReLU, x: Value) -> Value:
    return Value(ops.prelu(_scaled(x), ops.constant(layer.weight.detach().numpy())))


@_translates(nn.ReLU)
def _relu_layer(_: nn.ReLU, x: Value) -> Value:
    return _relu(x)


@_translates(F.relu, torch.relu, "relu")
def _relu(x: Value, *, inplace: bool = False) -> Value:
    return Value(ops.relu(x.node), x.scale)


@_translates(nn.Hardtanh)
def _hardtanh_layer(layer: nn.Hardtanh, x: Value) -> Value:
    return _hardtanh(x, layer.min_val, layer.max_val)


@_translates(F.hardtanh)
def _hardtanh(
    x: Value, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Value:
    return Value(ops.clamp(_scaled(x), min_val, max_val))


@_translates(nn.Identity)
def _identity(_: nn.Identity, x: Value) -> Value:
    return x


@_translates(operator.add, operator.iadd, torch.add)
def _add(x: Value, y: Value) -> Value:
    return Value(ops.add(_scaled(x), _scaled(y)))


@_translates(nn.MaxPool2d)
def _max_pool_layer(layer: nn.MaxPool2d, x: Value) -> Value:
    assert not layer.ceil_mode
    return _max_pool(x, layer.kernel_size, layer.stride, layer.padding, layer.dilation)


@_translates(F.max_pool2d)
def _max_pool(
    x: Value,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    assert not ceil_mode
    assert not return_indices
    assert _pair(dilation) == [1, 1]
    kernel, pads = _pair(kernel_size), _pair(padding)
    strides = kernel if stride is None else _pair(stride)
    node = opset1.max_pool(x.node, strides, pads, pads, kernel)
    return Value(node, x.scale)  # the scale is not negative: it keeps the order


@_translates(F.avg_pool2d)
def _average_pool(x: Value, kernel_size: int, *, ceil_mode: bool = False) -> Value:
    sizes = x.node.get_output_shape(0)[2:]
    kernel = [min(size, kernel_size) for size in sizes]  # the engine refuses to reach beyond them
    node = opset14.avg_pool(
        _scaled(x),
        kernel,
        [0, 0],
        [0, 0],
        kernel,
        exclude_pad=True,
        rounding_type="ceil" if ceil_mode else "floor",
    )
    return Value(node)


@_translates(nn.AdaptiveAvgPool2d)
def _global_average_pool(layer: nn.AdaptiveAvgPool2d, x: Value) -> Value:
    assert layer.output_size in (1, (1, 1))
    return _mean(x, dim=(2, 3), keepdim=True)


@_translates(torch.mean, "mean")
def _mean(x: Value, dim: tuple[int, ...], keepdim: bool = False) -> Value:
    return Value(ops.reduce_mean(_scaled(x), np.array(dim), keep_dims=keepdim))


@_translates(torch.flatten, "flatten")
def _flatten(x: Value, start_dim: int = 0) -> Value:
    assert start_dim == 1
    return Value(ops.reshape(_scaled(x), np.array([0, -1]), special_zero=True))


@_translates(operator.getitem)
def _slice(x: Value, index: tuple[slice, ...]) -> Value:
    starts = [each.start or 0 for each in index]
    stops = [np.iinfo(np.int64).max if each.stop is None else each.stop for each in index]
    steps = [each.step or 1 for each in index]
    return Value(ops.slice(_scaled(x), *(np.array(each) for each in (starts, stops, steps))))


@_translates(F.pad)
def _pad(x: Value, pad: tuple[int, ...], mode: str, value: float | None) -> Value:
    """Pad with a constant.

    `pad` has the last dimension first, and for each dimension the padding in front and behind.
    """
    assert mode == "constant"
    rest = [0] * (_rank(x.node) - len(pad) // 2)
    begin, end = ([*rest, *pad[start::2][::-1]] for start in (0, 1))
    return Value(
        ops.pad(_scaled(x), np.array(begin), np.array(end), "constant", np.float32(value or 0))
    )
