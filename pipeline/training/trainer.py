"""One trainer for every phase: epochs, validation, best epoch, checkpoints.

Everything random is a function of (seed, epoch), so the end of an epoch is described by the
tensors of network and optimizer alone, and a resumed training ends in the bytes of an
uninterrupted one.
"""

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.data.loading.batches import Batches
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.errors import UserError, one_line
from pipeline.evaluation.accuracy import mean_loss_and_top1
from pipeline.losses.kurtosis import kurtosis
from pipeline.models.binary import ede_schedule, set_ede
from pipeline.models.layers import binary_convolutions, regularized_convolutions
from pipeline.models.saved import State
from pipeline.names import LOSSES
from pipeline.params import Params, Phase
from pipeline.training.checkpoint import Scratch, read_checkpoint
from pipeline.training.distiller import Distiller
from pipeline.training.interruption import EXIT_CODE, Interruption
from pipeline.training.objective import Objective
from pipeline.training.optimizer import make_optimizer
from pipeline.training.progress import Progress
from pipeline.training.schedule import learning_rate
from pipeline.training.state import (
    TRAINING_COLUMNS,
    History,
    Outcome,
    Row,
    copy_state,
    pack,
    unpack,
)
from pipeline.training.timing import Stopwatch

Batch = tuple[tuple[torch.Tensor, torch.Tensor], int]
"""Images and labels of this process, and the number of images over all processes."""
POLL_EVERY_STEPS = 16
"""Steps between two polls for interruptions in a distributed training: each poll waits for the
device."""


@dataclass(frozen=True)
class Task:
    """What is trained, with which losses and on which images."""

    run: str
    """Name of the training, such as `digits/resnet20-complete-1`."""
    model: nn.Module
    """On the device, as is the distiller."""
    distiller: nn.Module | None
    """Trained network whose logits are distilled."""
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
        self._execution = execution
        self._world = world
        self._model = task.model
        self._optimizer = make_optimizer(task.phase, self._model, fused=execution.fused_optimizer)
        self._forward: nn.Module = self._model
        if world.size > 1:
            device = execution.device
            self._forward = DistributedDataParallel(
                self._model,
                device_ids=None if device.index is None else [device],
                broadcast_buffers=False,  # share_buffers does, before they are used
            )
        if execution.compile:
            self._forward = torch.compile(self._forward, dynamic=False)  # type: ignore[assignment]
            task.objective.compile()
        self._distiller = Distiller(task.distiller, execution) if task.distiller else None
        self._progress = Progress(task.run, task.phase.epochs, world.is_main)
        self._stopwatch = Stopwatch(execution.device)

    def run(
        self, scratch: Scratch, interruption: Interruption, publish: Callable[[History], None]
    ) -> Outcome:
        """Train from the newest checkpoint of `scratch`, or from the start.

        The main process calls `publish` with the rows so far: after each epoch, once its
        checkpoint is saved, and at the start, if a checkpoint was found.

        Raises:
            UserError: the loss is not finite.
            SystemExit: `interruption` was requested; finished epochs are saved.
        """
        outcome, first = self._restore(scratch)
        if first and self._world.is_main:
            publish(outcome.history)
        signs = self._signs()
        for epoch in range(first, self._task.phase.epochs):
            row, timing = self.train_epoch(epoch, interruption)
            signs, previous = self._signs(), signs
            row["sign_flips"] = _share_changed(previous, signs)
            self._world.share_buffers(self._model)
            row |= self._validate()
            if not math.isfinite(row["validation_loss"]):
                raise UserError(
                    f"{self._task.run}: the validation loss is {row['validation_loss']:g} after "
                    f"epoch {epoch + 1}; lower learning_rate, now "
                    f"{self._task.phase.learning_rate:g}"
                )
            outcome.update_best(self._model, row)
            outcome.history.curves.append(row)
            outcome.history.kurtosis += self._kurtosis(epoch + 1)
            outcome.history.timing.append(timing)
            if self._world.is_main:
                scratch.save(epoch + 1, *pack(self._model, self._optimizer, outcome, epoch + 1))
                publish(outcome.history)
            self._progress.epoch(row, timing["images_per_second"])
        outcome.last = copy_state(self._model)
        return outcome

    def validate_only(self) -> Outcome:
        """Validate the network as it is, as epoch 0, which is the only row of the curves."""
        row: Row = {"epoch": 0} | dict.fromkeys(TRAINING_COLUMNS) | self._validate()
        state = copy_state(self._model)
        history = History([row], self._kurtosis(0))
        return Outcome(state, state, 0, row["validation_top1"], history)

    def train_epoch(self, epoch: int, interruption: Interruption) -> tuple[Row, Row]:
        """Train through the batches of 0-based `epoch`, without validation.

        Returns:
            The epoch's row of the curves, without validation and sign flips, and its row of
            `timing`.

        Raises:
            UserError: the loss is not finite.
            SystemExit: `interruption` was requested.
        """
        row: Row = {"epoch": epoch + 1} | self._schedule(epoch)
        names = ("loss", *self._task.objective.active(epoch), "correct")
        sums = torch.zeros(len(names), dtype=torch.float64, device=self._execution.device)
        steps: list[torch.Tensor] = []
        seen = 0
        self._forward.train()
        self._stopwatch.start()
        for (images, labels), size in self._batches(epoch):
            with self._stopwatch.step((size, names), len(labels)):
                values = self._step(images, labels, size, epoch)
                steps.append(torch.stack([values[name] for name in names]))
                sums += steps[-1]
            seen += len(labels)
            if self._progress.wants_values:
                self._progress.values(sums[0].item() / len(steps), sums[-1].item() / seen)
            if self._world.size == 1 or len(steps) % POLL_EVERY_STEPS == 1:
                self._stop_if_requested(interruption, epoch)
        self._check_finite(epoch, names, steps)

        counts = sums.new_tensor([len(steps), seen, self._stopwatch.warm_up_images])
        totals = self._world.sum(torch.cat([sums, counts])).tolist()
        *loss_sums, correct, batches, seen, warm_up_images = totals
        row |= {"loss": None} | dict.fromkeys(LOSSES)
        row |= {name: value / batches for name, value in zip(names[:-1], loss_sums, strict=True)}
        row["train_top1"] = correct / seen
        return row, self._stopwatch.row(epoch + 1, seen, warm_up_images)

    def _restore(self, scratch: Scratch) -> tuple[Outcome, int]:
        """Restore network and optimizer; return the outcome and the number of finished epochs."""
        found = scratch.intact() if self._world.is_main else iter(())
        epochs = self._task.phase.epochs
        while True:
            path, content = next(found, (None, None))
            saved = self._world.broadcast(content, self._execution.device)
            if saved is None:
                return Outcome(history=History(kurtosis=self._kurtosis(0))), 0
            try:
                tensors, state = read_checkpoint(saved, str(path))
                return unpack(tensors, state, self._model, self._optimizer, str(path), epochs)
            except UserError as error:  # in every process, as all have the same bytes
                if self._world.is_main:
                    print(one_line(f"{error}; refused"), file=sys.stderr)

    def _schedule(self, epoch: int) -> Row:
        """Set what depends on the epoch alone: the learning rate and EDE's t and k."""
        task = self._task
        rate = learning_rate(task.phase, epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        binarization = task.params.binarization
        t, k = ede_schedule(
            epoch, task.phase.epochs, binarization.ede_t_min, binarization.ede_t_max
        )
        set_ede(self._model, t, k)
        return {"learning_rate": rate, "ede_t": t, "ede_k": k}

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch as the debug switches leave them, with a progress bar."""
        training, debug = self._task.training, self._task.params.debug
        count = debug.batches or len(training)
        shown = 0 if debug.overfit_one_batch else epoch
        batches: Iterator[Batch] = zip(training.batches(shown), training.sizes(), strict=True)
        if debug.overfit_one_batch:
            batches = itertools.repeat(next(batches), count)
        limited = itertools.islice(batches, count)
        return self._progress.bar(limited, count, epoch, next(training.sizes()))

    def _step(
        self, images: torch.Tensor, labels: torch.Tensor, global_size: int, epoch: int
    ) -> State:
        """Take one step of the optimizer.

        Args:
            images: float32 (B, C, H, W) of this process.
            labels: int64 (B,).
            global_size: images of the batch over all processes.
            epoch: 0-based.

        Returns:
            0-d float64 tensors: `loss`, each loss that takes part, and the number of `correct`
            images.
        """
        objective = self._task.objective
        relative_size = len(labels) * self._world.size / global_size
        distilled = self._distiller.logits(images) if self._distiller else None
        with self._execution.autocast_context():
            logits = self._forward(images)
        terms = objective.terms(logits.float(), labels, distilled, relative_size, epoch)
        loss = objective.total(terms)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        correct = (logits.detach().argmax(1) == labels).sum()
        values = {"loss": loss, **terms, "correct": correct}
        return {name: value.detach().double() for name, value in values.items()}

    def _validate(self) -> Row:
        loss, top1 = mean_loss_and_top1(
            self._model, self._task.validation, self._execution, self._world
        )
        return {"validation_loss": loss, "validation_top1": top1}

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

    def _stop_if_requested(self, interruption: Interruption, epoch: int) -> None:
        if self._world.any(interruption.requested, self._execution.device):
            print(
                f"{self._task.run}: interrupted in epoch {epoch + 1}; {epoch} finished epochs are "
                "saved, run again to go on",
                file=sys.stderr,
            )
            raise SystemExit(EXIT_CODE)

    def _check_finite(self, epoch: int, names: tuple[str, ...], steps: list[torch.Tensor]) -> None:
        """Refuse to go on from an epoch in which a loss of this process was not finite."""
        for number, step in enumerate(torch.stack(steps).tolist(), start=1):
            loss, *terms = step[:-1]
            if math.isfinite(loss):
                continue
            shown = ", ".join(
                f"{name} {term:g}" for name, term in zip(names[1:-1], terms, strict=True)
            )
            raise UserError(
                f"{self._task.run}: the loss is {loss:g} in step {number} of epoch {epoch + 1} "
                f"({shown}); lower learning_rate, now {self._task.phase.learning_rate:g}, or the "
                "weight of the term"
            )


def _share_changed(previous: torch.Tensor, current: torch.Tensor) -> float | None:
    if not len(current):
        return None
    return (previous != current).double().mean().item()
