"""What is measured: networks, images, and the two loops that train networks on images."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.usual_layers import use_usual_layers
from benchmarks.usual_loop import UsualLoop, endless, pil_loader
from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import Split
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import split_source
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.models.architecture import design
from pipeline.models.binary import ede_schedule, set_ede
from pipeline.models.registry import build
from pipeline.names import LOSSES
from pipeline.params import Data, Debug, Params
from pipeline.training.interruption import Interruption
from pipeline.training.objective import Objective
from pipeline.training.trainer import Task, Trainer

Network = Literal["resnet20", "resnet18"]
Row = Literal["complete", "binary"]

CLASSES = 10
IMAGE_SIZE = 32
TRAINING_IMAGES = 45_000
"""As many as a CIFAR-10 run trains on after a tenth is held out for validation."""


@dataclass(frozen=True)
class Images:
    """A training split and what a loop needs to know about it."""

    split: Split
    description: str
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465)
    std: tuple[float, ...] = (0.2470, 0.2435, 0.2616)


def random_images(count: int = TRAINING_IMAGES) -> Images:
    """Noise of CIFAR's shape: the time that an image takes does not depend on what it shows."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    split = Split(pixels, generator.integers(0, CLASSES, count))
    return Images(split, f"{count} random images of CIFAR's shape")


def load_images() -> Images:
    """CIFAR-10 from the Parquet shards below the folder BDBNN_SHARED, else random images."""
    folder = Path(os.environ.get("BDBNN_SHARED", "missing")) / "data" / "cifar10"
    if not folder.is_dir():
        return random_images()
    data = Data(
        source="shards",
        location=str(folder),
        image_size=IMAGE_SIZE,
        validation=0.1,
        split_seed=0,
        limit=0,
    )
    train, _, _ = split_source(load_source(data), data)
    return Images(train, f"{len(train.labels)} training images of a CIFAR-10 copy")


@dataclass(frozen=True)
class Workload:
    """What all loops share: batch size, augmentation and losses (`params`), execution, images."""

    params: Params
    execution: Execution
    images: Images

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.params.student.batch_size

    def our_batches(self) -> ResidentBatches:
        """The training batches of the stages."""
        return ResidentBatches(
            self.images.split,
            self.images.mean,
            self.images.std,
            batch_size=self.batch_size,
            augmentation=self.params.augmentation,
            seed=0,
            execution=self.execution,
            world=World(rank=0, size=1),
        )

    def usual_batches(self, workers: int) -> DataLoader:
        """The training batches of the usual loop."""
        return pil_loader(
            self.images.split,
            self.images.mean,
            self.images.std,
            padding=self.params.augmentation.crop_padding,
            batch_size=self.batch_size,
            workers=workers,
            pin=self.execution.device.type == "cuda",
        )

    def networks(self, network: Network) -> tuple[nn.Module, nn.Module]:
        """The binary network and its full-precision twin, both with random weights."""
        torch.manual_seed(0)
        student, teacher = (
            build(
                design(
                    network,
                    self.params.network,
                    binarization,
                    classes=CLASSES,
                    channels=self.images.split.images.shape[1],
                    image_size=self.images.split.images.shape[2],
                )
            )
            for binarization in (self.params.binarization, None)
        )
        return student, teacher


class OurLoop:
    """The trainer of the stages; its epoch has a fixed number of batches."""

    def __init__(self, workload: Workload, network: Network, row: Row, batches: int) -> None:
        self._device = workload.execution.device
        student, teacher = map(workload.execution.place, workload.networks(network))
        losses = LOSSES if row == "complete" else ("cross_entropy",)
        self._start_epoch = workload.params.kurtosis.start_epoch
        debug = Debug(batches=batches, overfit_one_batch=False)
        training = workload.our_batches()
        self.task = Task(
            run="benchmark",
            model=student,
            distiller=teacher if row == "complete" else None,
            objective=Objective(losses, workload.params, student, mimicked=teacher),
            phase=workload.params.student,
            params=workload.params.model_copy(update={"debug": debug}),
            training=training,
            validation=training,
        )
        self._trainer = Trainer(self.task, workload.execution, World(rank=0, size=1))
        self._epochs = itertools.cycle(range(workload.params.student.epochs))

    def epoch(self) -> None:
        """Train through the next epoch, without validation."""
        self._trainer.train_epoch(next(self._epochs), Interruption())

    def weight_terms(self) -> None:
        """Compute kurtosis loss, WDM and their gradient as often as an epoch has steps."""
        logits = torch.zeros(1, CLASSES, device=self._device)
        label = torch.zeros(1, dtype=torch.int64, device=self._device)
        objective = self.task.objective
        for _ in range(self.task.params.debug.batches):
            terms = objective.terms(logits, label, logits, 1.0, self._start_epoch)
            objective.total({name: terms[name] for name in ("kurtosis", "mimicking")}).backward()


class UsualEpoch:
    """The usual loop over a fixed number of batches of its DataLoader.

    Its network is ours, operation by operation; with `usual_layers` it computes in the field's
    passes.
    """

    def __init__(
        self,
        workload: Workload,
        network: Network,
        row: Row,
        batches: int,
        *,
        workers: int,
        usual_layers: bool,
    ) -> None:
        student, teacher = (
            each.to(workload.execution.device) for each in workload.networks(network)
        )
        if usual_layers:
            use_usual_layers(student)
        binarization = workload.params.binarization
        epochs = workload.params.student.epochs
        set_ede(student, *ede_schedule(0, epochs, binarization.ede_t_min, binarization.ede_t_max))
        self.loop = UsualLoop(
            student,
            teacher if row == "complete" else None,
            workload.params,
            workload.execution.device,
        )
        self._count = batches
        self._batches = endless(workload.usual_batches(workers))

    def epoch(self) -> None:
        """Train through the next batches."""
        self.loop.train(itertools.islice(self._batches, self._count))

    def weight_terms(self) -> None:
        """Compute kurtosis loss, WDM and their gradient as often as an epoch has steps."""
        for _ in range(self._count):
            self.loop.weight_terms().backward()
