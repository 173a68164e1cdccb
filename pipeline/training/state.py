"""The state of a training, in memory and as the tensors and JSON of a checkpoint."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from pipeline.errors import UserError, first_problem
from pipeline.models.saved import State, check_state
from pipeline.names import LOSSES
from pipeline.params import PositiveInt, Section, UnitShare

Row = dict[str, Any]
TRAINING_COLUMNS = (
    "learning_rate",
    "ede_t",
    "ede_k",
    "loss",
    *LOSSES,
    "train_top1",
    "sign_flips",
)
COLUMNS = {
    "curves": {"epoch", *TRAINING_COLUMNS, "validation_loss", "validation_top1"},
    "kurtosis": {"epoch", "layer", "kurtosis", "target"},
    "timing": {
        "epoch",
        "seconds",
        "warm_up_seconds",
        "images_per_second",
        "peak_memory_mib",
        "hardware",
    },
}
"""Columns of each table of a training."""
NAMES = {"layer", "hardware"}
"""Columns that hold text."""
LARGEST = 1e12
"""The largest time, throughput or memory that a checkpoint may tell."""


@dataclass
class History:
    """One row per epoch (`curves`, `timing`) or per epoch and layer (`kurtosis`)."""

    curves: list[Row] = field(default_factory=list)
    kurtosis: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)


@dataclass
class Outcome:
    """The outcome of a training; `last` is empty while it runs."""

    best: State = field(default_factory=dict)
    last: State = field(default_factory=dict)
    best_epoch: int = 0
    """1-based; 0: none yet."""
    validation_top1: float = 0.0
    """Top-1 of the best epoch, a share."""
    history: History = field(default_factory=History)

    def update_best(self, model: nn.Module, row: Row) -> None:
        """Keep `model` if its validation top-1 is the highest yet; the lower loss breaks a tie.

        Args:
            model: network as it is after an epoch.
            row: row of the curves for that epoch, which `history` does not have yet.
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


class _SavedState(Section, allow_inf_nan=True):
    """The JSON of a checkpoint."""

    epochs_done: PositiveInt
    best_epoch: PositiveInt
    validation_top1: UnitShare
    history: dict[str, list[dict[str, float | str | None]]]


def unpack(
    tensors: State,
    state: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: str,
    epochs: int,
) -> tuple[Outcome, int]:
    """Bring `model` and `optimizer` to where `pack` found them, or leave both as they are.

    Args:
        tensors: from `pack`.
        state: from `pack`.
        model: network of the same architecture, changed in place.
        optimizer: optimizer of `model`, changed in place.
        source: name of the checkpoint in error messages.
        epochs: of the whole training.

    Returns:
        The outcome so far, and the number of finished epochs.

    Raises:
        UserError: the tensors belong to another architecture or optimizer, or the state is not what
            `pack` made.
    """
    _check_saved_state(state, source, epochs)
    weights, best = _section(tensors, "model"), _section(tensors, "best")
    check_state(model, weights, source)
    check_state(model, best, source)
    slots = _slots(_section(tensors, "optimizer"), optimizer, source)
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})
    outcome = Outcome(
        best=best,
        best_epoch=state["best_epoch"],
        validation_top1=state["validation_top1"],
        history=History(**state["history"]),
    )
    return outcome, state["epochs_done"]


def _check_saved_state(state: dict[str, Any], source: str, epochs: int) -> None:
    try:
        saved = _SavedState.model_validate(state)
    except ValidationError as error:
        raise UserError(f"{source}: is no checkpoint ({first_problem(error)})") from None
    curves, timing = (saved.history.get(name, []) for name in ("curves", "timing"))
    best = curves[saved.best_epoch - 1] if saved.best_epoch <= len(curves) else {}
    found = {
        "history": saved.history.keys() == COLUMNS.keys()
        and all(row.keys() == COLUMNS[name] for name in COLUMNS for row in saved.history[name]),
        "epochs_done": saved.epochs_done <= epochs
        and all(
            len(rows) == saved.epochs_done
            and all(row.get("epoch") == number for number, row in enumerate(rows, start=1))
            for rows in (curves, timing)
        ),
        "best_epoch": saved.best_epoch <= saved.epochs_done,
        "validation_loss": all(_is_finite(row.get("validation_loss")) for row in curves),
        "timing": all(_is_timing(row) for row in timing),
        "tables": all(
            value is None or isinstance(value, str) == (key in NAMES)
            for rows in saved.history.values()
            for row in rows
            for key, value in row.items()
        ),
        "validation_top1": all(_is_share(row.get("validation_top1")) for row in curves)
        and saved.validation_top1 == best.get("validation_top1"),
    }
    for key, fits in found.items():
        if not fits:
            raise UserError(f"{source}: is no checkpoint ({key} does not fit the rest)")


def _is_usable(slot: torch.Tensor) -> bool:
    return slot.is_floating_point() and bool(slot.float().isfinite().all())


def _is_timing(row: Row) -> bool:
    """Whether the hardware has a name, and every other value is a number from 0 to LARGEST."""
    numbers = [value for name, value in row.items() if name != "hardware"]
    return isinstance(row.get("hardware"), str) and all(
        _is_finite(value) and 0 <= value <= LARGEST for value in numbers
    )


def _is_share(value: object) -> bool:
    return isinstance(value, float | int) and 0 <= value <= 1


def _is_finite(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)


def _slots(found: State, optimizer: torch.optim.Optimizer, source: str) -> dict[int, State]:
    """The optimizer's tensors of each parameter, by its index."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    wanted = _slot_names(optimizer)
    slots: dict[int, State] = {}
    for index, parameter in enumerate(parameters):
        if not any(f"{index}.{key}" in found for key in wanted):  # never had a gradient
            continue
        for key in wanted:
            name = f"{index}.{key}"
            shape = () if key == "step" else tuple(parameter.shape)
            tensor = found.get(name)
            if tensor is None or tuple(tensor.shape) != shape or not _is_usable(tensor):
                raise UserError(
                    f"{source}: is no checkpoint (optimizer.{name} is not {shape} finite numbers)"
                )
            slots.setdefault(index, {})[key] = _in_format_of(parameter, found[name])
    unknown = found.keys() - {f"{index}.{key}" for index in slots for key in slots[index]}
    if unknown:
        raise UserError(f"{source}: is no checkpoint (optimizer.{min(unknown)} is unknown)")
    return slots


def _slot_names(optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the tensors that an optimizer of this kind keeps for a parameter."""
    probe = nn.Parameter(torch.zeros(1))
    probe.grad = torch.zeros(1)
    trial = type(optimizer)([probe], **optimizer.defaults)
    trial.step()
    return list(trial.state[probe])


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
