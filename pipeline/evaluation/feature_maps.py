"""The input of a layer for one image, before and after its sign: the figure of the paper."""

import torch
from torch import Tensor, nn

from pipeline.models.binary import BinaryConv2d
from pipeline.models.layers import regularized_convolutions

MAX_CHANNELS = 16


def feature_maps(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Input of the second regularized convolution when `model` sees `image`.

    It is the second, because the input of the first is still close to the image. Source:
    METHOD [inferred]; the paper's figure does not name its layer.

    Args:
        model: Network on the CPU; it is left in evaluation mode.
        image: float32 (1, C, H, W), normalized.

    Returns:
        `maps`, float32 (channels, H, W), before the sign; and `binary_maps`, int8, the same after
        it (+1 or -1), if the layer binarizes its input.
    """
    _, layer, *_ = regularized_convolutions(model).values()
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].clone()))
    try:
        with torch.inference_mode():
            model.eval()(image)
    finally:
        hook.remove()
    seen = inputs[0][:, :MAX_CHANNELS]
    maps = {"maps": seen[0]}
    if isinstance(layer, BinaryConv2d) and layer.binarization.activations:
        maps["binary_maps"] = layer.quantized_input(seen)[0].to(torch.int8)
    return maps
