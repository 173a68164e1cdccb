"""What a network is, as data, and the table of networks.

To add a network: its file, an entry in `NETWORKS`, its name in `Architecture.network`, the blocks
it allows in `BLOCKS`.
"""

from collections.abc import Callable
from typing import Literal

from torch import nn

from pipeline.errors import UserError
from pipeline.models.resnet18 import ResNet18
from pipeline.models.resnet20 import ResNet20
from pipeline.models.resnet_imagenet import ImageNetResNet
from pipeline.models.torchvision_resnet import torchvision_resnet
from pipeline.models.vgg_small import VggSmall
from pipeline.params import Binarization, PositiveInt, Section


class Architecture(Section):
    """All that is needed to build a network.

    Two that differ in `binarization` alone are twins: same module names, same state_dict.
    """

    network: Literal[
        "resnet20",
        "resnet18",
        "vgg_small",
        "imagenet_resnet18",
        "imagenet_resnet34",
        "torchvision_resnet18",
        "torchvision_resnet34",
    ]
    classes: PositiveInt
    channels: PositiveInt
    image_size: PositiveInt
    """Height and width in pixels."""
    block: Literal["bireal", "plain", "react"]
    """Of resnet20, imagenet_resnet18 and imagenet_resnet34, see `BLOCKS`."""
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
    "imagenet_resnet18": lambda a: ImageNetResNet(
        18,
        classes=a.classes,
        channels=a.channels,
        react=a.block == "react",
        binarization=a.binarization,
    ),
    "imagenet_resnet34": lambda a: ImageNetResNet(
        34,
        classes=a.classes,
        channels=a.channels,
        react=a.block == "react",
        binarization=a.binarization,
    ),
    "torchvision_resnet18": lambda a: torchvision_resnet(
        18, classes=a.classes, channels=a.channels, binarization=a.binarization
    ),
    "torchvision_resnet34": lambda a: torchvision_resnet(
        34, classes=a.classes, channels=a.channels, binarization=a.binarization
    ),
}

BLOCKS: dict[str, tuple[str, ...]] = {
    "resnet20": ("bireal", "plain"),
    "resnet18": ("bireal", "plain"),
    "vgg_small": ("bireal", "plain"),
    "imagenet_resnet18": ("bireal", "react"),
    "imagenet_resnet34": ("bireal", "react"),
}
"""What `block` may be. To resnet18 and vgg_small it makes no difference, so that one params file
serves them beside resnet20; torchvision's may stand beside any."""


def build(architecture: Architecture) -> nn.Module:
    """A network with random weights from torch's global generator, in training mode.

    It maps images (batch, channels, image_size, image_size), float32, to logits (batch, classes).

    Raises:
        UserError: the network has no such blocks, no binary form, or cannot take such images.
    """
    forms = BLOCKS.get(architecture.network, (architecture.block,))
    if architecture.block not in forms:
        raise UserError(
            f"network.block is {architecture.block!r}: {architecture.network} allows "
            f"{' or '.join(forms)}"
        )
    return NETWORKS[architecture.network](architecture)
