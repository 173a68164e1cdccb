"""The deployed form of a 1-bit network: sums of signs, which a scale multiplies afterwards."""

from torch import Tensor, nn

from pipeline.models.binary import BinaryConv2d, sign
from pipeline.models.layers import binary_convolutions


class DeployedConv2d(BinaryConv2d):
    """A binary convolution that sums signs alone and then multiplies by each filter's scale.

    These sums are whole numbers, which are the same on every device and in every order of addition.
    In training the scale is part of the weights, and unless it is a power of two, each addition
    rounds.
    """

    def quantized_weight(self) -> Tensor:
        """Signs of the weights, (filters, channels, height, width)."""
        return sign(super().quantized_weight())

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        scale = super().quantized_weight()[:, 0, 0, 0].abs()
        return super().forward(input) * scale[:, None, None]


def deploy(model: nn.Module) -> nn.Module:
    """Replace, in place, each convolution of 1-bit weights and input by a `DeployedConv2d`.

    Parameters stay the same tensors under the same names.
    """
    for name, layer in binary_convolutions(model).items():
        if layer.binarization.weights and layer.binarization.activations:
            deployed = DeployedConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size[0],
                stride=layer.stride[0],
                padding=int(layer.padding[0]),
                binarization=layer.binarization,
            )
            deployed.weight = layer.weight
            model.set_submodule(name, deployed.train(layer.training))
    return model
