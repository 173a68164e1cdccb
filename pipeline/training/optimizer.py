"""The optimizer of a phase, and which parameters it decays."""

from typing import Any

import torch
from torch import nn

from pipeline.params import Phase


def make_optimizer(phase: Phase, model: nn.Module, *, fused: bool) -> torch.optim.Optimizer:
    """Make SGD or Adam over all parameters of `model`; `phase.decay` says which of them decay.

    With `decay: convolutions` the weights of convolutions decay and nothing else does. Source:
    METHOD [released] for ImageNet, whose rule also decays whatever has "conv" in its name.

    Args:
        phase: its optimizer, learning rate, momentum, weight decay and decay.
        model: network on its device.
        fused: whether one kernel steps all parameters, which rounds differently from a loop.
    """
    groups = _groups(phase, model)
    if phase.optimizer == "adam":
        return torch.optim.Adam(
            groups, phase.learning_rate, weight_decay=phase.weight_decay, fused=fused
        )
    return torch.optim.SGD(
        groups,
        phase.learning_rate,
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
        fused=fused,
    )


def _groups(phase: Phase, model: nn.Module) -> list[dict[str, Any]]:
    parameters = list(model.parameters())
    if phase.decay == "all":
        return [{"params": parameters}]
    convolutions = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    decayed = set(convolutions)
    others = [parameter for parameter in parameters if parameter not in decayed]
    return [{"params": convolutions}, {"params": others, "weight_decay": 0.0}]
