"""What a network is, as data, and the table of networks.

To add a network: its file, an entry in `NETWORKS`, its name in `Architecture.network`.
"""

from collections.abc import Callable
from typing import Literal

from torch import nn

from pipeline.models.resnet18 import ResNet18
from pipeline.models.resnet20 import ResNet20
from pipeline.models.vgg_small import VggSmall
from pipeline.params import Binarization, PositiveInt, Section


class Architecture(Section):
    """All that is needed to build a network.

    Two that differ in `binarization` alone are twins: same module names, same state_dict.
    """

    network: Literal["resnet20", "resnet18", "vgg_small"]
    classes: PositiveInt
    channels: PositiveInt
    image_size: PositiveInt
    """Height and width in pixels."""
    block: Literal["bireal", "plain"]
    """Of resnet20."""
    downsample: Literal["real", "binary"]
    """Of resnet18."""
    binarization: Binarization | None
    """None: full precision."""


NETWORKS: dict[str, Callable[[Architecture], nn.Module]] = {
    "resnet20": lambda a: ResNet20(
        classes=a.classes,
        channels=a.channels,
        bireal=a.block == "bireal",
        binarization=a.binarization,
    ),
    "resnet18": lambda a: ResNet18(
        classes=a.classes,
        channels=a.channels,
        binarization=a.binarization,
        downsample=a.binarization if a.downsample == "binary" else None,
    ),
    "vgg_small": lambda a: VggSmall(
        classes=a.classes,
        channels=a.channels,
        image_size=a.image_size,
        binarization=a.binarization,
    ),
}


def build(architecture: Architecture) -> nn.Module:
    """A network with random weights from torch's global generator, in training mode.

    It maps images (batch, channels, image_size, image_size), float32, to logits (batch, classes).

    Raises:
        UserError: the network cannot take images of this size.
    """
    return NETWORKS[architecture.network](architecture)
