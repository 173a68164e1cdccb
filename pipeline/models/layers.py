"""The layers of a network that a loss or a statistic covers, and how they are initialized.

Every network here registers its first convolution first and its modules in forward order, and names
the convolutions of its skips `downsample`.
"""

from typing import Literal

from torch import nn

from pipeline.models.binary import BinaryConv2d


def regularized_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions under the kurtosis loss: all but the first, downsample included.

    Source: METHOD [released]. In a residual block the order is conv1, conv2, downsample.

    Returns:
        Module name to convolution, in module order.
    """
    convolutions = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    return dict(convolutions[1:])


def mimicked_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions under weight distribution mimicking: all but the first and the downsamples.

    Source: METHOD [released].
    """
    return {
        name: convolution
        for name, convolution in regularized_convolutions(model).items()
        if "downsample" not in name.split(".")
    }


def binary_convolutions(model: nn.Module) -> dict[str, BinaryConv2d]:
    """Convolutions that quantize weights, input or both, in module order."""
    return {n: m for n, m in model.named_modules() if isinstance(m, BinaryConv2d)}


def nonlinearity(name: Literal["relu", "hardtanh"], *, inplace: bool) -> nn.Module:
    """The module that `Architecture.activation` names."""
    return {"relu": nn.ReLU, "hardtanh": nn.Hardtanh}[name](inplace=inplace)


def initialize(model: nn.Module) -> None:
    """Draw the weights of convolutions and classifier from N(0, 2 / fan_in) (He initialization).

    In place, in module order, from torch's global generator. Source: IR-Net's released ResNet-20.
    VGG-Small has a rule of its own. The ImageNet networks use this one, whereas Bi-Real Net draws
    tiny positive weights and ReActNet starts step one from torch's default. Biases and batch norms
    keep torch's defaults.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
