"""The table of networks.

To add a network, add its file, its name and label in `pipeline.names`, an entry in `CONSTRUCTORS`
and, if it does not take every kind of block, one in `BLOCKS`.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from pipeline.errors import UserError
from pipeline.models.architecture import Architecture
from pipeline.models.resnet18 import ResNet18
from pipeline.models.resnet20 import ResNet20
from pipeline.models.resnet_imagenet import ImageNetResNet
from pipeline.models.torchvision_resnet import torchvision_resnet
from pipeline.models.vgg_small import VggSmall

CONSTRUCTORS: dict[str, Callable[[Architecture], nn.Module]] = {
    "resnet20": ResNet20,
    "resnet18": ResNet18,
    "vgg_small": VggSmall,
    "imagenet_resnet18": partial(ImageNetResNet, 18),
    "imagenet_resnet34": partial(ImageNetResNet, 34),
    "torchvision_resnet18": partial(torchvision_resnet, 18),
    "torchvision_resnet34": partial(torchvision_resnet, 34),
}

BLOCKS = {
    "resnet20": ("bireal", "plain"),
    "resnet18": ("bireal", "plain"),
    "vgg_small": ("bireal", "plain"),
    "imagenet_resnet18": ("bireal", "react"),
    "imagenet_resnet34": ("bireal", "react"),
}
"""Allowed values of `block`. resnet18 and vgg_small ignore it, and allow what resnet20 allows so
that one params file serves all three; torchvision's networks ignore it and allow every value."""


def build(architecture: Architecture) -> nn.Module:
    """Build a network in training mode, with random weights from torch's global generator.

    It maps images (batch, channels, image_size, image_size), float32, to logits (batch, classes).

    Raises:
        UserError: the network has no such blocks or no binary form, or cannot take such images.
    """
    blocks = BLOCKS.get(architecture.network, (architecture.block,))
    if architecture.block not in blocks:
        raise UserError(
            f"network.block is {architecture.block!r}: {architecture.network} allows "
            f"{' or '.join(blocks)}"
        )
    return CONSTRUCTORS[architecture.network](architecture)
