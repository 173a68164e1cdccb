"""The frozen teacher, whose logits are distilled."""

import torch
from torch import Tensor, nn

from pipeline.device import Execution


class Teacher:
    """Logits of a trained network.

    Args:
        network: on the device; frozen here.
        execution: device and number formats.
    """

    def __init__(self, network: nn.Module, execution: Execution) -> None:
        self._network = network.eval().requires_grad_(False)
        self._arithmetic = execution
        if execution.compile:
            self._network = torch.compile(network, dynamic=False)  # type: ignore[assignment]

    def logits(self, images: Tensor) -> Tensor:
        """Float32 logits (B, classes) of images (B, C, H, W)."""
        with torch.inference_mode(), self._arithmetic.autocast_context():
            logits = self._network(images)
        return logits.float().clone()
