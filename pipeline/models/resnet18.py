"""ResNet-18 for CIFAR-size images."""

from torch import Tensor, nn

from pipeline.models.architecture import Architecture
from pipeline.models.binary import convolution
from pipeline.models.layers import initialize, nonlinearity

WIDTHS = (64, 128, 256, 512)
BLOCKS = 2
"""Blocks of each stage."""


class Block(nn.Module):
    """conv, BN, activation, conv, BN, + skip, activation; where the width grows the skip has a 1x1.

    `downsample` is that 1x1 convolution with its BN, registered last.
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
        downsample = binarization if architecture.downsample == "binary" else None
        self.activation = nonlinearity(architecture.activation, inplace=True)
        self.conv1 = convolution(in_width, width, 3, stride=stride, binarization=binarization)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, binarization=binarization)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                convolution(in_width, width, 1, stride=stride, binarization=downsample),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_width, height, width) to the block's width and stride."""
        out = self.activation(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return self.activation(out)


class ResNet18(nn.Module):
    """First convolution, four stages of two blocks, average pool, BN, linear.

    Source: METHOD [field], after IR-Net's released ResNet-18: a 3x3 first convolution, no pooling
    and no activation after it, and skips around pairs of convolutions. First convolution, batch
    norms and classifier are real. One 32x32 image takes 555.4 million multiply-accumulates.

    `binarization` quantizes all 3x3 convolutions but the first. The 1x1 convolutions of the skips
    stay real (`downsample: real`, IR-Net) or are quantized too (`binary`, RBNN).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.conv1 = convolution(architecture.channels, WIDTHS[0], 3, binarization=None)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], 1, architecture)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], 2, architecture)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], 2, architecture)
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], 2, architecture)
        self.bn2 = nn.BatchNorm1d(WIDTHS[3])
        self.linear = nn.Linear(WIDTHS[3], architecture.classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to logits (batch, classes)."""
        out = self.bn1(self.conv1(images))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.linear(self.bn2(out.mean(dim=(2, 3))))


def _stage(in_width: int, width: int, stride: int, architecture: Architecture) -> nn.Sequential:
    first = Block(in_width, width, stride, architecture)
    others = [Block(width, width, 1, architecture) for _ in range(BLOCKS - 1)]
    return nn.Sequential(first, *others)
