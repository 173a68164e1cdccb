"""VGG-Small for CIFAR-size images."""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.models.architecture import Architecture
from pipeline.models.binary import convolution
from pipeline.models.layers import nonlinearity

SMALLEST_IMAGE = 8
"""Height and width in pixels, which three poolings reduce to one."""


class VggSmall(nn.Module):
    """Six 3x3 convolutions 128-128-256-256-512-512, a 2x2 pool after every second, linear.

    Order: convolution, pool, BN, activation. Source: METHOD [field], after IR-Net's released
    VGG-Small. First convolution, batch norms and classifier are real. The classifier sees
    512 (image_size / 8)^2 features, 8,192 at 32 pixels.

    Raises:
        UserError: the images are smaller than 8 pixels.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        image_size, binarization = architecture.image_size, architecture.binarization
        if image_size < SMALLEST_IMAGE:
            raise UserError(
                f"data.image_size is {image_size}: vgg_small needs at least {SMALLEST_IMAGE}"
            )
        self.conv1 = convolution(architecture.channels, 128, 3, binarization=None)
        self.bn1 = nn.BatchNorm2d(128)
        self.conv2 = convolution(128, 128, 3, binarization=binarization)
        self.bn2 = nn.BatchNorm2d(128)
        self.conv3 = convolution(128, 256, 3, binarization=binarization)
        self.bn3 = nn.BatchNorm2d(256)
        self.conv4 = convolution(256, 256, 3, binarization=binarization)
        self.bn4 = nn.BatchNorm2d(256)
        self.conv5 = convolution(256, 512, 3, binarization=binarization)
        self.bn5 = nn.BatchNorm2d(512)
        self.conv6 = convolution(512, 512, 3, binarization=binarization)
        self.bn6 = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512 * (image_size // 8) ** 2, architecture.classes)
        self.activation = nonlinearity(architecture.activation, inplace=True)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, channels, image_size, image_size) to logits (batch, classes)."""
        out = self.activation(self.bn1(self.conv1(images)))
        out = self.activation(self.bn2(F.max_pool2d(self.conv2(out), 2)))
        out = self.activation(self.bn3(self.conv3(out)))
        out = self.activation(self.bn4(F.max_pool2d(self.conv4(out), 2)))
        out = self.activation(self.bn5(self.conv5(out)))
        out = self.activation(self.bn6(F.max_pool2d(self.conv6(out), 2)))
        return self.linear(out.flatten(1))


def _initialize(model: nn.Module) -> None:
    """Draw weights from N(0, 2 / (k^2 filters)), those of the classifier from N(0, 0.01^2).

    Source: METHOD [field], IR-Net's released VGG-Small. With He initialization, the 8,192 features
    of the classifier give an initial loss of 37 instead of about 2.3.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
