"""The description of a network, as data."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.errors import UserError
from pipeline.names import NETWORKS
from pipeline.params import (
    LARGEST_CLASSES,
    Binarization,
    Channels,
    Network,
    Pixels,
    Section,
)


def _known(network: str) -> str:
    if network not in NETWORKS:
        raise ValueError(f"{network!r} is unknown, allowed are {', '.join(NETWORKS)}")
    return network


class Architecture(Section):
    """All that is needed to build a network.

    Two architectures that differ only in `binarization` or `activation` are twins: they have the
    same module names and the same state_dict. So are two ResNet-20 that differ in `block`.
    """

    network: Annotated[str, AfterValidator(_known)]
    """One of `pipeline.names.NETWORKS`."""
    classes: Annotated[int, Field(gt=0, le=LARGEST_CLASSES)]
    channels: Channels
    image_size: Pixels
    """Height and width in pixels."""
    block: Literal["bireal", "plain", "react"]
    """`pipeline.models.registry` lists what each network allows."""
    activation: Literal["relu", "hardtanh"]
    """Nonlinearity; the blocks `react` and torchvision's networks have their own."""
    downsample: Literal["real", "binary"]
    """Only resnet18 reads it."""
    binarization: Binarization | None
    """None: full precision."""


def check_same(name: str, found: Architecture, other: str, wanted: Mapping[str, object]) -> None:
    """Make sure that an architecture has the `wanted` values.

    Args:
        name: what error messages call the network.
        found: its architecture.
        other: what error messages call that which has the wanted values.
        wanted: values by key.

    Raises:
        UserError: a value differs; the first one is named.
    """
    for key, value in wanted.items():
        if getattr(found, key) != value:
            raise UserError(
                f"{name}: its {key} is {getattr(found, key)!r}, that of {other} is {value!r}"
            )


def design(
    network: str,
    form: Network,
    binarization: Binarization | None,
    *,
    classes: int,
    channels: int,
    image_size: int,
) -> Architecture:
    """Describe a network for images of one kind.

    Args:
        network: one of `pipeline.names.NETWORKS`.
        form: blocks and nonlinearity, of binary and of full-precision networks.
        binarization: how the network quantizes; None for full precision.
        classes: number of logits.
        channels: channels of the images.
        image_size: height and width in pixels.
    """
    real = binarization is None
    return Architecture(
        network=network,
        classes=classes,
        channels=channels,
        image_size=image_size,
        block=form.full_precision_block if real else form.block,
        activation=form.full_precision_activation if real else "hardtanh",
        downsample=form.downsample,
        binarization=binarization,
    )
