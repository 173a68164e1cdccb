"""ResNet-18 and ResNet-34 for images of ImageNet's size."""

from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.architecture import Architecture
from pipeline.models.binary import convolution
from pipeline.models.layers import initialize, nonlinearity
from pipeline.models.react import ChannelShift, RPReLU

WIDTHS = (64, 128, 256, 512)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks of each stage, of two convolutions each."""


class Block(nn.Module):
    """Two convolutions with a skip around each; where the width grows, the first skip has a 1x1.

    bireal: activation, conv, BN, + skip; twice. The skips form a path that nothing clips. Where the
    convolution binarizes its input, a hardtanh before it changes only the gradient, which is 0
    beyond |x| = 1. Source: Bi-Real Net (arXiv 1808.00278); METHOD [field].

    react: shift, conv, BN, + skip, RPReLU; twice. Source: ReActNet (arXiv 2003.03488), its released
    ResNet-18; METHOD [field].

    `downsample` is the 1x1 convolution with its BN, after an average pool of 2; it stays real. The
    modules that torchvision's blocks also have come first and have the same names.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        stride: int,
        architecture: Architecture,
    ) -> None:
        super().__init__()
        react, binarization = architecture.block == "react", architecture.binarization
        self.conv1 = convolution(in_width, width, 3, stride=stride, binarization=binarization)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, binarization=binarization)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1:
            self.downsample = nn.Sequential(
                convolution(in_width, width, 1, binarization=None), nn.BatchNorm2d(width)
            )
        activation = partial(nonlinearity, architecture.activation, inplace=False)
        self.before1 = ChannelShift(in_width) if react else activation()
        self.after1 = RPReLU(width) if react else nn.Identity()
        self.before2 = ChannelShift(width) if react else activation()
        self.after2 = RPReLU(width) if react else nn.Identity()

    def skip(self, x: Tensor) -> Tensor:
        """The input; where the width grows, projected to half the height and width, rounded up."""
        if self.downsample is None:
            return x
        return self.downsample(F.avg_pool2d(x, 2, ceil_mode=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_width, height, width) to the block's width and stride."""
        out = self.bn1(self.conv1(self.before1(x)))
        out = self.after1(out + self.skip(x))
        return self.after2(self.bn2(self.conv2(self.before2(out))) + out)


class ImageNetResNet(nn.Module):
    """7x7 convolution, BN, max pool, four stages of blocks, average pool, linear.

    Source: METHOD [field], after Bi-Real Net and ReActNet, whose one-convolution blocks, (4, 4, 4,
    4) or (6, 8, 12, 6), are the halves of the blocks here. First convolution, the 1x1 convolutions
    of the skips, batch norms and classifier are real; no activation follows the first convolution.
    Names and shapes are those of torchvision's ResNets, including `fc` for the classifier; what
    ReAct adds has names of its own. With the blocks bireal, 1,000 classes and colour images of 224
    pixels, depth 18 has 11,689,512 parameters and 1,814 million multiply-accumulates, and depth 34
    has 21,797,672 and 3,664 million.

    Args:
        depth: number of layers: the convolutions outside the skips, and the classifier.
        architecture: its `binarization` quantizes the 3x3 convolutions.
    """

    def __init__(self, depth: Literal[18, 34], architecture: Architecture) -> None:
        super().__init__()
        self.conv1 = convolution(architecture.channels, WIDTHS[0], 7, stride=2, binarization=None)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        first, second, third, fourth = BLOCKS[depth]
        self.layer1 = _stage(first, WIDTHS[0], WIDTHS[0], 1, architecture)
        self.layer2 = _stage(second, WIDTHS[0], WIDTHS[1], 2, architecture)
        self.layer3 = _stage(third, WIDTHS[1], WIDTHS[2], 2, architecture)
        self.layer4 = _stage(fourth, WIDTHS[2], WIDTHS[3], 2, architecture)
        self.fc = nn.Linear(WIDTHS[3], architecture.classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, height, width) to logits (batch, classes)."""
        out = F.max_pool2d(self.bn1(self.conv1(images)), 3, stride=2, padding=1)
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.fc(out.mean(dim=(2, 3)))


def _stage(
    blocks: int, in_width: int, width: int, stride: int, architecture: Architecture
) -> nn.Sequential:
    first = Block(in_width, width, stride, architecture)
    others = [Block(width, width, 1, architecture) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)
