"""The share of the 1-bit maps seen by binary layers that carry next to no information."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.models.binary import BinaryConv2d
from pipeline.models.layers import binary_convolutions

RARE_PERCENT = 1


@dataclass(frozen=True)
class LayerMaps:
    """Maps of one layer: one for each image and input channel."""

    maps: int
    blank: int
    pixels: int
    """Pixels of one map, height x width."""


class BlankMaps:
    """Counts of the 1-bit maps that were seen, by layer; see `counted_blank_maps`."""

    def __init__(self) -> None:
        self._blank: dict[str, Tensor] = {}
        self._maps: Counter[str] = Counter()
        self._pixels: dict[str, int] = {}

    def add(self, layer: str, signs: Tensor) -> None:
        """Count the maps of a batch, (images, channels, height, width) of +1 and -1."""
        pixels = signs.shape[2] * signs.shape[3]
        rarer = (pixels - signs.sum((2, 3), dtype=torch.float32).abs()) / 2
        blank = (100 * rarer < RARE_PERCENT * pixels).sum()  # stays on the device, so nothing waits
        self._blank[layer] = self._blank[layer] + blank if layer in self._blank else blank
        self._maps[layer] += rarer.numel()
        self._pixels[layer] = pixels

    def layers(self) -> dict[str, LayerMaps]:
        """Counts by module name, in forward order; empty for a network without 1-bit maps."""
        return {
            name: LayerMaps(self._maps[name], int(blank), self._pixels[name])
            for name, blank in self._blank.items()
        }

    def share(self) -> float | None:
        """Share of the maps of all layers that are blank, each map counting once.

        Layers with more channels therefore weigh more. None for a network without 1-bit maps.
        """
        layers = self.layers().values()
        if not layers:
            return None
        return sum(layer.blank for layer in layers) / sum(layer.maps for layer in layers)


@contextlib.contextmanager
def counted_blank_maps(model: nn.Module) -> Iterator[BlankMaps]:
    """Count the blank 1-bit maps of all images that pass through `model` inside the block.

    A map is the sign of one input channel of one binary layer for one image, as the layer convolves
    it, without the zeros of the padding. It is blank if the rarer sign has less than RARE_PERCENT
    of its pixels; in a map of up to 100 pixels that means none. A layer whose input stays real
    (binary weights alone, full precision) has no such maps.

    In the authors' figure, the map that goes blank still has two pixels of the other sign; hence
    the criterion is a share and not "all of one sign". Source: METHOD [paper]; the value of the
    share is [inferred].

    This needs no pass of its own: put the pass that measures the accuracy on the test images, in
    evaluation mode, inside the block. Where processes share the images, each counts its own.

    Args:
        model: Not compiled; its hooks are removed at the end.
    """
    counted = BlankMaps()

    def hook(name: str, layer: BinaryConv2d) -> None:
        handle = layer.register_forward_pre_hook(
            lambda _, given: counted.add(name, layer.quantized_input(given[0]))
        )
        handles.callback(handle.remove)

    with contextlib.ExitStack() as handles:
        for name, layer in binary_convolutions(model).items():
            if layer.binarization.activations:
                hook(name, layer)
        yield counted
