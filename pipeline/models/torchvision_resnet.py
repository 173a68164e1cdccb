"""torchvision's own ResNet-18 and ResNet-34, in full precision: teachers, mostly pretrained."""

from typing import Literal

from torch import nn

from pipeline.errors import UserError
from pipeline.params import Binarization

CHANNELS = 3


def torchvision_resnet(
    depth: Literal[18, 34], *, classes: int, channels: int, binarization: Binarization | None
) -> nn.Module:
    """The network of torchvision (arXiv 1512.03385), with random weights drawn as it does.

    Names of convolutions, batch norms and classifier are those of `ImageNetResNet`, so that layers
    pair with a student's. Its blocks have one skip around two convolutions, and ReLUs.

    Args:
        depth: 18 or 34.
        classes: number of logits.
        channels: of the images, 3.
        binarization: must be None.

    Raises:
        UserError: the images have no three channels, or a binary network is asked for.
    """
    name = f"torchvision_resnet{depth}"
    if binarization is not None:
        raise UserError(
            f"--network is {name!r}: it has no binary form; imagenet_resnet{depth} has one"
        )
    if channels != CHANNELS:
        raise UserError(f"--network is {name!r}: it needs images of 3 channels, found {channels}")
    # Imported here: torchvision takes seconds, which the other networks need not wait for.
    from torchvision.models import get_model  # noqa: PLC0415

    return get_model(f"resnet{depth}", num_classes=classes)
