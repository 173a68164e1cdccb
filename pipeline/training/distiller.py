"""The distiller: a frozen network whose logits the student learns."""

import torch
from torch import Tensor, nn

from pipeline.device import Execution


class Distiller:
    """A trained network that gives logits to distil.

    Args:
        network: network on the device; it is frozen here.
        execution: device and number formats.
    """

    def __init__(self, network: nn.Module, execution: Execution) -> None:
        self._network = network.eval().requires_grad_(False)
        self._execution = execution
        if execution.compile:
            self._network = torch.compile(network, dynamic=False)  # type: ignore[assignment]

    def logits(self, images: Tensor) -> Tensor:
        """Float32 logits (B, classes) of images (B, C, H, W), without gradient."""
        with torch.inference_mode(), self._execution.autocast_context():
            logits = self._network(images)
        return logits.float().clone()
