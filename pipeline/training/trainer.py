"""One trainer for every phase: epochs, validation, best epoch, checkpoints.

Everything random is a function of (seed, epoch), so the end of an epoch is described by the
tensors of network and optimizer alone, and a resumed training ends in the bytes of an
uninterrupted one.
"""

import itertools
import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.data.loading.batches import Batches
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.errors import UserError
from pipeline.evaluation.accuracy import mean_loss_and_top1
from pipeline.losses.kurtosis import kurtosis
from pipeline.models.binary import ede_schedule, set_ede
from pipeline.models.layers import binary_convolutions, regularized_convolutions
from pipeline.models.saved import State, load_state
from pipeline.params import Params, Phase
from pipeline.training.checkpoint import Scratch, read_checkpoint
from pipeline.training.distiller import Teacher
from pipeline.training.energy import energy_joules, joules_since
from pipeline.training.interruption import EXIT_CODE, Interruption
from pipeline.training.objective import LOSSES, Objective
from pipeline.training.optimizer import make_optimizer
from pipeline.training.progress import Progress
from pipeline.training.schedule import learning_rate

Row = dict[str, Any]
Batch = tuple[torch.Tensor, torch.Tensor, int]

ASK_EVERY = 16
"""Steps between two times that several processes ask each other whether to stop: asking waits for
the device."""


@dataclass
class History:
    """One row per epoch (`curves`, `timing`) or per epoch and layer (`kurtosis`)."""

    curves: list[Row] = field(default_factory=list)
    kurtosis: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)


@dataclass
class Outcome:
    """What a training leaves."""

    best: State
    last: State
    best_epoch: int
    validation_top1: float
    history: History


@dataclass(frozen=True)
class Task:
    """What is trained, with which losses, on what."""

    cell: str
    model: nn.Module
    """On the device, as is the teacher."""
    teacher: nn.Module | None
    """Frozen; its logits are distilled if the objective asks for them."""
    objective: Objective
    phase: Phase
    params: Params
    training: Batches
    validation: Batches


class Trainer:
    """Runs the epochs of a task.

    Args:
        task: What is trained.
        execution: Device and number formats.
        world: This process among those that share the training.
    """

    def __init__(self, task: Task, execution: Execution, world: World) -> None:
        self._task = task
        self._arithmetic = execution
        self._world = world
        self._model = task.model
        self._optimizer = make_optimizer(task.phase, self._model, fused=execution.fused_optimizer)
        self._forward: nn.Module = self._model
        if world.size > 1:
            self._forward = DistributedDataParallel(
                self._model, device_ids=[execution.device] if execution.device.index else None
            )
        if execution.compile:
            self._forward = torch.compile(self._forward, dynamic=False)  # type: ignore[assignment]
            task.objective.compile()
        self._teacher: Teacher | None = None
        if task.teacher is not None and task.objective.needs_teacher_logits:
            self._teacher = Teacher(task.teacher, execution)
        self._progress = Progress(task.cell, task.phase.epochs, world.is_main)
        self._warm: set[tuple[int, tuple[str, ...]]] = set()

    def run(self, scratch: Scratch, interruption: Interruption) -> Outcome:
        """Train from the newest checkpoint of `scratch`, or from the start.

        Raises:
            UserError: the loss is not finite, or the device is out of memory.
            SystemExit: `interruption` was requested; finished epochs are saved.
        """
        outcome, first = self._restore(scratch)
        signs = self._signs()
        for epoch in range(first, self._task.phase.epochs):
            row, timing = self.train_epoch(epoch, interruption)
            signs, previous = self._signs(), signs
            row["sign_flips"] = _share_changed(previous, signs)
            self._world.share_buffers(self._model)
            loss, top1 = mean_loss_and_top1(self._model, self._task.validation, self._arithmetic)
            if not math.isfinite(loss):
                raise UserError(
                    f"{self._task.cell}: the validation loss is {loss:g} after epoch {epoch + 1}; "
                    f"lower learning_rate, now {self._task.phase.learning_rate:g}"
                )
            row |= {"validation_loss": loss, "validation_top1": top1}
            self._keep(outcome, row)
            outcome.history.curves.append(row)
            outcome.history.kurtosis += self._kurtosis(epoch + 1)
            outcome.history.timing.append(timing)
            if self._world.is_main:
                self._save(scratch, epoch, outcome)
            self._progress.epoch(row, timing["images_per_second"])
        outcome.last = _copy(self._model)
        return outcome

    def judge(self) -> Outcome:
        """The network as it is, judged on validation: one row of the curves, epoch 0."""
        loss, top1 = mean_loss_and_top1(self._model, self._task.validation, self._arithmetic)
        columns = ("learning_rate", "ede_t", "ede_k", "loss", *LOSSES, "train_top1", "sign_flips")
        row = {"epoch": 0} | dict.fromkeys(columns)
        row |= {"validation_loss": loss, "validation_top1": top1}
        state = _copy(self._model)
        return Outcome(state, state, 0, top1, History([row], self._kurtosis(0)))

    def _restore(self, scratch: Scratch) -> tuple[Outcome, int]:
        saved = scratch.newest() if self._world.is_main else None
        saved = self._world.broadcast(saved, self._arithmetic.device)
        if saved is None:
            return Outcome({}, {}, 0, 0.0, History(kurtosis=self._kurtosis(0))), 0
        tensors, state = read_checkpoint(saved)
        load_state(self._model, _section(tensors, "model"), f"checkpoint of {self._task.cell}")
        parameters = [each for group in self._optimizer.param_groups for each in group["params"]]
        slots: dict[int, State] = {}
        for name, tensor in _section(tensors, "optimizer").items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = _in_format_of(parameters[int(index)], tensor)
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        history = History(**state["history"])
        best = _section(tensors, "best")
        outcome = Outcome(best, {}, state["best_epoch"], state["validation_top1"], history)
        return outcome, state["epochs_done"]

    def _save(self, scratch: Scratch, epoch: int, outcome: Outcome) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self._model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in outcome.best.items()}
        for index, slot in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value for key, value in slot.items()}
        state = {
            "epochs_done": epoch + 1,
            "best_epoch": outcome.best_epoch,
            "validation_top1": outcome.validation_top1,
            "history": vars(outcome.history),
        }
        scratch.save(epoch + 1, tensors, state)

    def train_epoch(self, epoch: int, interruption: Interruption) -> tuple[Row, Row]:
        """Train through the batches of 0-based `epoch`, without validation.

        Returns:
            The epoch's row of the curves, as far as training tells it, and its row of `timing`.

        Raises:
            UserError: the loss is not finite.
            SystemExit: `interruption` was requested.
        """
        task, device = self._task, self._arithmetic.device
        rate = learning_rate(task.phase, epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        binarization = task.params.binarization
        t, k = ede_schedule(
            epoch, task.phase.epochs, binarization.ede_t_min, binarization.ede_t_max
        )
        set_ede(self._model, t, k)
        self._forward.train()

        names = ("loss", *task.objective.active(epoch), "correct")
        sums = torch.zeros(len(names), dtype=torch.float64, device=device)
        steps: list[torch.Tensor] = []
        images, warm_up, warm_images = 0, 0.0, 0
        joules = energy_joules(device) if self._world.size == 1 else None
        started = time.perf_counter()
        count = task.params.debug.batches or len(task.training)
        bar = self._progress.bar(
            _limited(task.training, epoch, count, task.params.debug.overfit_one_batch),
            count,
            epoch,
            next(task.training.sizes()),
        )
        for inputs, labels, size in bar:
            is_first = (size, names) not in self._warm  # then torch.compile compiles
            before = self._now() if is_first else 0.0
            relative_size = len(labels) * self._world.size / size
            taught = self._teacher.logits(inputs) if self._teacher else None
            values = self._step(inputs, labels, taught, relative_size, epoch)
            steps.append(torch.stack([values[name] for name in names]))
            sums += steps[-1]
            images += len(labels)
            if is_first:
                self._warm.add((size, names))
                warm_up += self._now() - before
                warm_images += len(labels)
            if self._progress.wants_values:
                self._progress.values(sums[0].item() / len(steps), sums[-1].item() / images)
            if self._world.size > 1 and len(steps) % ASK_EVERY != 1:
                continue
            if self._world.any(interruption.requested, device):
                print(self._farewell(epoch), file=sys.stderr)
                raise SystemExit(EXIT_CODE)
        self._check_finite(epoch, names, steps)
        counts = sums.new_tensor([len(steps), images, warm_images])
        totals = self._world.sum(torch.cat([sums, counts])).tolist()
        seconds = time.perf_counter() - started
        *values_sums, correct, batches, images, warm_images = totals
        row: Row = {"epoch": epoch + 1, "learning_rate": rate, "ede_t": t, "ede_k": k}
        row |= {"loss": None} | dict.fromkeys(LOSSES)
        row |= {name: value / batches for name, value in zip(names, values_sums, strict=False)}
        row["train_top1"] = correct / images
        if warm_images == images:  # no step but the first of each kind
            warm_up, warm_images = 0.0, 0
        timing = {
            "epoch": epoch + 1,
            "seconds": seconds,
            "warm_up_seconds": warm_up,
            "images_per_second": (images - warm_images) / (seconds - warm_up),
            "peak_memory_mib": _peak_memory(device),
            "energy_joules": joules_since(joules, device),
        }
        return row, timing

    def _now(self) -> float:
        """Seconds of the clock when the device has done what it was given."""
        if self._arithmetic.device.type == "cuda":
            torch.cuda.synchronize(self._arithmetic.device)
        return time.perf_counter()

    def _step(
        self,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        teacher_logits: torch.Tensor | None,
        relative_size: float,
        epoch: int,
    ) -> State:
        task = self._task
        with self._arithmetic.autocast_context():
            logits = self._forward(inputs)
        terms = task.objective.terms(logits.float(), labels, teacher_logits, relative_size, epoch)
        loss = task.objective.total(terms)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        values = {"loss": loss, **terms, "correct": correct}
        return {name: value.detach().double() for name, value in values.items()}

    def _keep(self, outcome: Outcome, row: Row) -> None:
        """Keep the network if its validation top-1 is the highest yet; a tie goes to lower loss."""
        best = outcome.history.curves[outcome.best_epoch - 1] if outcome.best_epoch else None
        if best is None or _merit(row) > _merit(best):
            outcome.best = _copy(self._model)
            outcome.best_epoch = row["epoch"]
            outcome.validation_top1 = row["validation_top1"]

    def _kurtosis(self, epoch: int) -> list[Row]:
        targets = self._task.objective.targets
        layers = regularized_convolutions(self._model)
        with torch.no_grad():
            values = torch.stack([kurtosis(layer.weight) for layer in layers.values()]).tolist()
        return [
            {"epoch": epoch, "layer": name, "kurtosis": value, "target": targets.get(name)}
            for name, value in zip(layers, values, strict=True)
        ]

    def _signs(self) -> torch.Tensor:
        """Sign bits of all binary weights, one after another; empty for a real network."""
        with torch.no_grad():
            bits = [
                (layer.quantized_weight() >= 0).flatten()
                for layer in binary_convolutions(self._model).values()
                if layer.binarization.weights
            ]
        return torch.cat(bits) if bits else torch.empty(0, dtype=torch.bool)

    def _check_finite(self, epoch: int, names: tuple[str, ...], steps: list[torch.Tensor]) -> None:
        """Refuse to go on from an epoch in which a loss of this process was not finite."""
        for number, step in enumerate(torch.stack(steps).tolist(), start=1):
            loss, *terms = step[:-1]
            if math.isfinite(loss):
                continue
            shown = ", ".join(
                f"{name} {term:g}" for name, term in zip(names[1:], terms, strict=False)
            )
            raise UserError(
                f"{self._task.cell}: the loss is {loss:g} in step {number} of epoch {epoch + 1} "
                f"({shown}); lower learning_rate, now {self._task.phase.learning_rate:g}, or the "
                "weight of the term"
            )

    def _farewell(self, epoch: int) -> str:
        return (
            f"{self._task.cell}: interrupted in epoch {epoch + 1}; {epoch} finished epochs are "
            "saved, run again to go on"
        )


def _limited(training: Batches, epoch: int, count: int, overfit_one_batch: bool) -> Iterator[Batch]:
    """What `_batches` gives, as the debug switches leave it."""
    if overfit_one_batch:
        return itertools.repeat(next(_batches(training, 0)), count)
    return itertools.islice(_batches(training, epoch), count)


def _batches(training: Batches, epoch: int) -> Iterator[Batch]:
    """Images and labels of this process's share; number of images in all shares."""
    parts = zip(training.batches(epoch), training.sizes(), strict=True)
    return ((*batch, size) for batch, size in parts)


def _merit(row: Row) -> tuple[float, float]:
    return row["validation_top1"], -row["validation_loss"]


def _in_format_of(parameter: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """An optimizer's tensor in the memory format of its parameter: fused steps take that as given.

    load_state_dict leaves it in the format it was saved in.
    """
    if slot.shape != parameter.shape:
        return slot
    return torch.empty_like(parameter).copy_(slot)


def _share_changed(previous: torch.Tensor, current: torch.Tensor) -> float | None:
    if not len(current):
        return None
    return (previous != current).double().mean().item()


def _copy(model: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _section(tensors: State, prefix: str) -> State:
    prefix += "."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _peak_memory(device: torch.device) -> float:
    """Peak memory so far, MiB: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
