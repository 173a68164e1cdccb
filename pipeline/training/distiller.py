"""The frozen teacher, whose logits are distilled."""

import torch
from torch import Tensor, nn

from pipeline.data.loading.batches import Batches
from pipeline.device import Execution


class Teacher:
    """Logits of a trained network for the batches of a training.

    Where the images are the same in every epoch, each passes through the network once.

    Args:
        network: on the device; frozen here.
        training: what the batches come from.
        execution: device and number formats.
    """

    def __init__(self, network: nn.Module, training: Batches, execution: Execution) -> None:
        self._network = network.eval().requires_grad_(False)
        self._arithmetic = execution
        self._known: Tensor | None = None
        if not training.changes:
            batches = training.whole().batches(0)
            self._known = torch.cat([self._pass(images) for images, _ in batches])
        elif execution.compile:
            self._network = torch.compile(network, dynamic=False)  # type: ignore[assignment]

    def logits(self, images: Tensor, positions: Tensor) -> Tensor:
        """Float32 logits (B, classes) of images (B, C, H, W) at these positions of the split."""
        return self._pass(images) if self._known is None else self._known[positions]

    def _pass(self, images: Tensor) -> Tensor:
        with torch.inference_mode(), self._arithmetic.autocast_context():
            logits = self._network(images)
        return logits.float().clone()
