"""A trained network on disk: what it is (JSON) and its weights (safetensors), best and last."""

import os
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import nn

from pipeline.artifacts import atomic_folder, read_json, read_tensors, write_json, write_tensors
from pipeline.errors import UserError
from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.params import Section

State = dict[str, torch.Tensor]
DESCRIPTION = "model.json"
"""The file that every trained network has."""


class Description(Section):
    """What a trained network is and the run that made it."""

    architecture: Architecture
    row: str
    seed: int
    losses: tuple[str, ...]
    teacher: str | None
    """Folder name of the teacher's cell."""
    best_epoch: int
    """1-based; chosen on the validation split."""
    validation_top1: float
    """Of the best epoch, a share."""
    debug: bool
    """Trained with a debug switch on: no result."""
    params: dict[str, Any]
    step: Literal["single", "one", "two"] = "single"
    """Of two, `one` has real weights and `two` goes on from it."""
    start: str | None = None
    """Folder name of the cell that step two started from."""
    distiller: str | None = None
    """Folder name of the cell whose logits are distilled, if that is not the teacher."""
    pretrained: bool = False
    """Not trained here: its weights were read."""


def save_trained(folder: Path, description: Description, best: State, last: State) -> None:
    """Write model.json, best.safetensors and last.safetensors; `folder` is replaced as a whole."""
    with atomic_folder(folder, DESCRIPTION) as built:
        write_tensors(built / "best.safetensors", best)
        write_tensors(built / "last.safetensors", last)
        content = description.model_dump(mode="json", exclude_defaults=True)
        write_json(built / DESCRIPTION, content)


def load_description(folder: Path) -> Description:
    """Read model.json of `folder`.

    Raises:
        UserError: it is missing or not what `save_trained` writes.
    """
    path = folder / DESCRIPTION
    content = read_json(path)
    try:
        return Description.model_validate(content, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key}: {first['msg']}") from None


def load_trained(folder: Path, which: Literal["best", "last"]) -> tuple[nn.Module, Description]:
    """Build the network of `folder` on the CPU, in evaluation mode, with its weights.

    Raises:
        UserError: a file is missing or damaged, or the weights belong to another architecture.
    """
    description = load_description(folder)
    model = build(description.architecture)
    load_weights(model, folder / f"{which}.safetensors")
    return model.eval(), description


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy the tensors of a safetensors file into `model`, in place.

    Raises:
        UserError: the file is missing or damaged, or as `load_state`.
    """
    load_state(model, read_tensors(Path(path)), str(path))


def load_state(model: nn.Module, state: State, source: str) -> None:
    """Copy `state`, which came from `source`, into `model`, in place.

    Raises:
        UserError: names or shapes are not those of `model`; the first difference is named.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        found = tuple(state[name].shape) if name in state else "nothing"
        wanted = tuple(expected[name].shape) if name in expected else "nothing"
        if found != wanted:
            raise UserError(
                f"{source}: holds another architecture: {name} is {found}, the network has {wanted}"
            )
    model.load_state_dict(state)
