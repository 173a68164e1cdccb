"""A trained network on disk: its description (JSON), its best and last weights (safetensors)."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator
from torch import nn

from pipeline.artifacts import (
    atomic_folder,
    read_json,
    read_tensors,
    sha256,
    write_json,
    write_tensors,
)
from pipeline.errors import UserError, first_problem
from pipeline.models.architecture import Architecture
from pipeline.models.registry import build
from pipeline.names import FILE_NAME, LOSSES, ROWS
from pipeline.params import NonNegativeInt, Section, Seed, UnitShare
from pipeline.targets import WITHOUT_TEACHER, parse_targets

State = dict[str, torch.Tensor]
DESCRIPTION = "model.json"
"""The file that every trained network has."""
FileName = Annotated[str, Field(pattern=f"^{FILE_NAME}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Description(Section):
    """Description of a trained network and of the run that made it."""

    architecture: Architecture
    row: str
    """One of `pipeline.names.ROWS`."""
    seed: Seed
    losses: tuple[str, ...]
    """Names from `pipeline.names.LOSSES`."""
    teacher: str | None
    """Folder name of the teacher's cell."""
    best_epoch: NonNegativeInt
    """1-based; chosen on the validation split."""
    validation_top1: UnitShare
    """Top-1 in the best epoch, as a share of the validation images."""
    debug: bool
    """Whether a debug switch was on in training, which makes it no result."""
    params: dict[str, dict[str, Any]]
    step: Literal["single", "one", "two"] = "single"
    """In the first of two steps the weights are real; the second continues from there."""
    start: FileName | None = None
    """Folder name of the cell that step two started from."""
    distiller: str | None = None
    """Folder name of the cell whose logits are distilled, if that is not the teacher."""
    pretrained: bool = False
    """Whether its weights were read instead of trained here."""

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.row not in ROWS:
            raise ValueError(f"row is {self.row!r}, allowed are {', '.join(ROWS)}")
        if not set(self.losses) <= set(LOSSES) or len(set(self.losses)) < len(self.losses):
            raise ValueError(
                f"losses are {', '.join(self.losses)}: allowed are {', '.join(LOSSES)}, each once"
            )
        if "kurtosis" in self.losses:
            target = self.params.get("kurtosis", {}).get("target")
            if not isinstance(target, float | int | str):
                raise ValueError(f"params.kurtosis.target is {target!r}, a target is needed")
            if target not in WITHOUT_TEACHER:
                parse_targets(target)
        if (self.step == "two") != (self.start is not None):
            raise ValueError(
                f"step is {self.step!r} and start is {self.start!r}: step two starts from a cell, "
                "and nothing else does"
            )
        return self


class Checksums(Section):
    """SHA-256 of the weight files."""

    best: Sha256
    last: Sha256


class SavedDescription(Description):
    """The content of model.json."""

    weights: Checksums


def save_trained(folder: Path, description: Description, best: State, last: State) -> None:
    """Write model.json, best.safetensors and last.safetensors; `folder` is replaced as a whole."""
    with atomic_folder(folder, DESCRIPTION) as built:
        write_tensors(built / "best.safetensors", best)
        write_tensors(built / "last.safetensors", last)
        checksums = {which: sha256(built / f"{which}.safetensors") for which in ("best", "last")}
        content = description.model_dump(mode="json", exclude_defaults=True)
        write_json(built / DESCRIPTION, content | {"weights": checksums})


def load_description(folder: Path) -> SavedDescription:
    """Read model.json of `folder`.

    Raises:
        UserError: it is missing or not what `save_trained` writes.
    """
    path = folder / DESCRIPTION
    content = read_json(path)
    if isinstance(content, dict) and "weights" not in content:
        raise UserError(f"{path}: weights is missing, their checksums; train the network again")
    try:
        return SavedDescription.model_validate_json(json.dumps(content))  # takes lists as tuples
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from None


def load_trained(
    folder: Path, which: Literal["best", "last"]
) -> tuple[nn.Module, SavedDescription]:
    """Build the network of `folder` on the CPU, in evaluation mode, with its weights.

    Raises:
        UserError: a file is missing or damaged, or the weights differ from their checksum or belong
            to another architecture.
    """
    description = load_description(folder)
    path = folder / f"{which}.safetensors"
    state = read_tensors(path)
    if sha256(path) != getattr(description.weights, which):
        raise UserError(f"{path}: differs from its checksum in {DESCRIPTION}; train it again")
    try:
        with torch.device("meta"):  # another network may need more memory than there is
            empty = build(description.architecture)
    except UserError as error:
        raise UserError(f"{folder / DESCRIPTION}: {error}") from error
    check_state(empty, state, str(path))
    model = build(description.architecture)
    load_state(model, state, str(path))
    return model.eval(), description


def load_state(model: nn.Module, state: State, source: str) -> None:
    """Copy `state`, which came from `source`, into `model`, in place.

    Raises:
        UserError: as `check_state`.
    """
    check_state(model, state, source)
    model.load_state_dict(state)


def check_state(model: nn.Module, state: State, source: str) -> None:
    """Make sure that `state`, which came from `source`, is a state_dict of `model`.

    Floating-point numbers may differ in precision.

    Raises:
        UserError: names, shapes or types are not those of `model`, a number is not finite, or a
            variance is negative; the first difference is named.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | state.keys()):
        found = tuple(state[name].shape) if name in state else "nothing"
        wanted = tuple(expected[name].shape) if name in expected else "nothing"
        if found != wanted:
            raise UserError(
                f"{source}: holds another architecture: {name} is {found}, the network has {wanted}"
            )
        tensor, dtype = state[name], expected[name].dtype
        if tensor.dtype != dtype and not (tensor.is_floating_point() and dtype.is_floating_point):
            raise UserError(f"{source}: {name} is of type {tensor.dtype}, must be {dtype}")
        values = tensor.to(dtype)
        if not values.isfinite().all():
            raise UserError(f"{source}: {name} holds numbers that are not finite")
        if name.endswith("running_var") and (values < 0).any():
            raise UserError(f"{source}: {name} holds negative numbers, a variance has none")
