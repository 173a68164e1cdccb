"""ResNet-20 for CIFAR-size images."""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.architecture import Architecture
from pipeline.models.binary import convolution
from pipeline.models.layers import initialize, nonlinearity

WIDTHS = (16, 32, 64)
BLOCKS = 3
"""Blocks of each stage."""


class Block(nn.Module):
    """Two convolutions and a skip around each (`bireal`) or around both (`plain`).

    bireal: conv, BN, + skip, activation; twice (Bi-Real Net, arXiv 1808.00278).
    plain: conv, BN, activation, conv, BN, + skip, activation (arXiv 1512.03385).
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        stride: int,
        architecture: Architecture,
    ) -> None:
        super().__init__()
        binarization = architecture.binarization
        self.stride = stride
        self.padding = (width - in_width) // 2
        self.bireal = architecture.block == "bireal"
        self.activation = nonlinearity(architecture.activation, inplace=True)
        self.conv1 = convolution(in_width, width, 3, stride=stride, binarization=binarization)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, binarization=binarization)
        self.bn2 = nn.BatchNorm2d(width)

    def skip(self, x: Tensor) -> Tensor:
        """The input, subsampled and with zero channels on both sides where the width grows."""
        if self.stride == 1:
            return x
        return F.pad(
            x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_width, height, width) to the block's width and stride."""
        out = self.bn1(self.conv1(x))
        skip = self.skip(x)
        if self.bireal:
            out += skip
        out = self.activation(out)
        if self.bireal:
            skip = out
        out = self.bn2(self.conv2(out))
        out += skip
        return self.activation(out)


class ResNet20(nn.Module):
    """First convolution, three stages of three blocks, average pool, BN, linear.

    Source: METHOD [field], after IR-Net's released ResNet-20. First convolution, batch norms and
    classifier are real. For ten classes of colour images it has 269,850 parameters.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.conv1 = convolution(architecture.channels, WIDTHS[0], 3, binarization=None)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.activation = nonlinearity(architecture.activation, inplace=True)
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], 1, architecture)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], 2, architecture)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], 2, architecture)
        self.bn2 = nn.BatchNorm1d(WIDTHS[2])
        self.linear = nn.Linear(WIDTHS[2], architecture.classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to logits (batch, classes)."""
        out = self.activation(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(self.bn2(out.mean(dim=(2, 3))))


def _stage(in_width: int, width: int, stride: int, architecture: Architecture) -> nn.Sequential:
    first = Block(in_width, width, stride, architecture)
    others = [Block(width, width, 1, architecture) for _ in range(BLOCKS - 1)]
    return nn.Sequential(first, *others)
