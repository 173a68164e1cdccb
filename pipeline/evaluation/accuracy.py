"""How often and how confidently a network is right: top-1, top-5, confusion, loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.data.loading.batches import Batches
from pipeline.device import Execution
from pipeline.distributed import World


@dataclass(frozen=True)
class Score:
    """Counts of one pass over a split; shares derive from them."""

    confusion: np.ndarray
    """int64 (classes, classes): images of true class (row) predicted as class (column)."""
    top5_correct: int
    """Images whose true class is among the five highest logits (all, if there are fewer)."""
    loss: float
    """Mean cross-entropy, nats per image."""
    outcomes: np.ndarray
    """bool (images,): whether the highest logit is the true class, for the images of this process
    in their order."""

    @property
    def images(self) -> int:
        """Images seen, each once."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Images whose highest logit is the true class."""
        return int(np.trace(self.confusion))

    @property
    def top1(self) -> float:
        """Share of images whose highest logit is the true class."""
        return self.correct / self.images

    @property
    def top5(self) -> float:
        """Share of images whose true class is among the five highest logits."""
        return self.top5_correct / self.images


def score(
    model: nn.Module, batches: Batches, execution: Execution, world: World, classes: int
) -> Score:
    """Pass every image of `batches` through `model` once, in evaluation mode.

    Args:
        model: Gives logits (B, classes); is on the device of `execution` and is left in
            evaluation mode.
        batches: Unshuffled and not augmented; this process's share.
        execution: Device and autocast.
        world: The processes that share the batches; each gets the counts of all of them.
        classes: Number of classes.
    """
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=execution.device)
    top5_and_loss = torch.zeros(2, dtype=torch.float64, device=execution.device)
    outcomes = []
    for logits, labels in _predictions(model, batches, execution):
        outcomes.append(logits.argmax(1) == labels)
        pairs = labels * classes + logits.argmax(1)
        confusion += torch.bincount(pairs, minlength=classes * classes)
        highest = logits.topk(min(5, classes)).indices
        top5_and_loss[0] += (highest == labels[:, None]).sum()
        top5_and_loss[1] += _loss_sum(logits, labels)
    counts = world.sum(confusion).reshape(classes, classes).cpu().numpy()
    top5_correct, loss_sum = world.sum(top5_and_loss).tolist()
    loss = loss_sum / int(counts.sum())
    return Score(counts, int(top5_correct), loss, torch.cat(outcomes).cpu().numpy())


def mean_loss_and_top1(
    model: nn.Module, batches: Batches, execution: Execution, world: World
) -> tuple[float, float]:
    """Mean cross-entropy (nats per image) and top-1 share, the part of `score` for validation."""
    sums = torch.zeros(3, dtype=torch.float64, device=execution.device)
    for logits, labels in _predictions(model, batches, execution):
        sums[0] += _loss_sum(logits, labels)
        sums[1] += (logits.argmax(1) == labels).sum()
        sums[2] += len(labels)
    loss, correct, images = world.sum(sums).tolist()
    return loss / images, correct / images


def _predictions(
    model: nn.Module, batches: Batches, execution: Execution
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits float32 (B, classes) and labels int64 (B,) of each batch."""
    model.eval()
    for images, labels in batches.batches(0):
        with torch.inference_mode(), execution.autocast_context():
            logits = model(images)
        yield logits.float(), labels


def _loss_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, reduction="none").double().sum()
