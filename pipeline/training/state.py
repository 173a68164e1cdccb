"""What a training has reached: in memory, and as the tensors and JSON of a checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from pipeline.models.saved import State, load_state

Row = dict[str, Any]


@dataclass
class History:
    """One row per epoch (`curves`, `timing`) or per epoch and layer (`kurtosis`)."""

    curves: list[Row] = field(default_factory=list)
    kurtosis: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)


@dataclass
class Outcome:
    """What a training leaves; while it runs, without `last`."""

    best: State = field(default_factory=dict)
    last: State = field(default_factory=dict)
    best_epoch: int = 0
    """1-based; 0: none yet."""
    validation_top1: float = 0.0
    """Top-1 of the best epoch, a share."""
    history: History = field(default_factory=History)

    def update_best(self, model: nn.Module, row: Row) -> None:
        """Keep `model` if its validation top-1 is the highest yet; a tie goes to lower loss.

        Args:
            model: as it is after an epoch.
            row: of the curves for that epoch, which `history` does not have yet.
        """
        best = self.history.curves[self.best_epoch - 1] if self.best_epoch else None
        if best is None or _merit(row) > _merit(best):
            self.best = copy_state(model)
            self.best_epoch = row["epoch"]
            self.validation_top1 = row["validation_top1"]


def pack(
    model: nn.Module, optimizer: torch.optim.Optimizer, outcome: Outcome, epochs_done: int
) -> tuple[State, dict[str, Any]]:
    """Tensors and JSON of a checkpoint, for `unpack`."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in outcome.best.items()}
    for index, slot in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in slot.items()}
    state = {
        "epochs_done": epochs_done,
        "best_epoch": outcome.best_epoch,
        "validation_top1": outcome.validation_top1,
        "history": vars(outcome.history),
    }
    return tensors, state


def unpack(
    tensors: State,
    state: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: str,
) -> tuple[Outcome, int]:
    """Bring `model` and `optimizer` to where `pack` found them.

    Args:
        tensors: from `pack`.
        state: from `pack`.
        model: of the same architecture, changed in place.
        optimizer: of `model`, changed in place.
        source: what an error calls the checkpoint.

    Returns:
        The outcome so far, and the number of finished epochs.

    Raises:
        UserError: the tensors are those of another architecture.
    """
    load_state(model, _section(tensors, "model"), source)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    slots: dict[int, State] = {}
    for name, tensor in _section(tensors, "optimizer").items():
        index, _, key = name.partition(".")
        slots.setdefault(int(index), {})[key] = _in_format_of(parameters[int(index)], tensor)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    outcome = Outcome(
        best=_section(tensors, "best"),
        best_epoch=state["best_epoch"],
        validation_top1=state["validation_top1"],
        history=History(**state["history"]),
    )
    return outcome, state["epochs_done"]


def copy_state(model: nn.Module) -> State:
    """A copy of the tensors of `model`, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _merit(row: Row) -> tuple[float, float]:
    return row["validation_top1"], -row["validation_loss"]


def _in_format_of(parameter: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """An optimizer's tensor in the memory format of its parameter, which fused steps rely on.

    load_state_dict leaves it in the format it was saved in.
    """
    if slot.shape != parameter.shape:
        return slot
    return torch.empty_like(parameter).copy_(slot)


def _section(tensors: State, prefix: str) -> State:
    prefix += "."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
