"""torchvision's own ResNet-18 and ResNet-34 in full precision, mostly as pretrained teachers."""

from typing import Literal

from torch import nn

from pipeline.errors import UserError
from pipeline.models.architecture import Architecture

CHANNELS = 3


def torchvision_resnet(depth: Literal[18, 34], architecture: Architecture) -> nn.Module:
    """Build torchvision's network (arXiv 1512.03385) with random weights as torchvision draws them.

    Names of convolutions, batch norms and classifier are those of `ImageNetResNet`, so that layers
    pair with a student's. Its blocks have one skip around two convolutions, and ReLUs.

    Args:
        depth: 18 or 34.
        architecture: has 3 channels and no `binarization`.

    Raises:
        UserError: the images do not have three channels, or a binary network is asked for.
    """
    if architecture.binarization is not None:
        raise UserError(
            f"network: torchvision_resnet{depth} has no binary form; imagenet_resnet{depth} has one"
        )
    if architecture.channels != CHANNELS:
        raise UserError(
            f"network: torchvision_resnet{depth} needs images of {CHANNELS} channels, found "
            f"{architecture.channels}"
        )
    # Imported here: torchvision takes seconds to import, and the other networks do not need it.
    from torchvision.models import get_model  # noqa: PLC0415

    return get_model(f"resnet{depth}", num_classes=architecture.classes)
