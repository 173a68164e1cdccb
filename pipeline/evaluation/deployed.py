"""The form in which a 1-bit network is used: sums of signs, which a scale multiplies afterwards."""

from torch import Tensor, nn

from pipeline.models.binary import BinaryConv2d, sign
from pipeline.models.layers import binary_convolutions


class DeployedConv2d(BinaryConv2d):
    """A binary convolution that adds up signs alone and then multiplies with each filter's scale.

    Those sums are whole numbers, which every device and every order of adding gives alike. In
    training the scale is part of the weights, and unless it is a power of two each addition rounds.
    """

    def quantized_weight(self) -> Tensor:
        """Signs of the weights, (filters, channels, height, width)."""
        return sign(super().quantized_weight())

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        scale = super().quantized_weight()[:, 0, 0, 0].abs()
        return super().forward(input) * scale[:, None, None]


def deploy(model: nn.Module) -> nn.Module:
    """Give `model`, in place, a `DeployedConv2d` for each convolution of 1-bit weights and input.

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
