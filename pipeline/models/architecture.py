"""What a network is, as data."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from pipeline.names import NETWORKS
from pipeline.params import Binarization, PositiveInt, Section


def _known(network: str) -> str:
    if network not in NETWORKS:
        raise ValueError(f"{network!r} is unknown, allowed are {', '.join(NETWORKS)}")
    return network


class Architecture(Section):
    """All that is needed to build a network.

    Two that differ in `binarization` alone are twins: same module names, same state_dict.
    """

    network: Annotated[str, AfterValidator(_known)]
    """One of `pipeline.names.NETWORKS`."""
    classes: PositiveInt
    channels: PositiveInt
    image_size: PositiveInt
    """Height and width in pixels."""
    block: Literal["bireal", "plain", "react"]
    """What a network allows is in `pipeline.models.registry`."""
    downsample: Literal["real", "binary"]
    """Read by resnet18 alone."""
    binarization: Binarization | None
    """None: full precision."""
