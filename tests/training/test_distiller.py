import numpy as np
import pytest
import torch
from torch import nn

from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import Split
from pipeline.device import configure
from pipeline.params import Augmentation
from pipeline.training.distiller import Teacher
from tests.training.conftest import tiny_params

CPU = torch.device("cpu")
IMAGES = 22


class Counting(nn.Module):
    """A linear network with batch norm that counts the images that passed through."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3 * 4 * 4, 5)
        self.seen = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return self.linear(self.norm(images).flatten(1))


def batches(padding: int, rank: int = 0) -> ResidentBatches:
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 4, 4), np.uint8)
    return ResidentBatches(
        Split(pixels, np.arange(IMAGES)),
        (0.5,) * 3,
        (0.25,) * 3,
        batch_size=8,
        augmentation=Augmentation(crop_padding=padding, horizontal_flip=False),
        shuffle=True,
        seed=1,
        device=CPU,
        rank=rank,
        world_size=2,
    )


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("padding", [0, 1])
def test_logits_are_the_frozen_networks_and_unchanging_images_pass_once(padding, rank):
    network = Counting()
    training = batches(padding, rank)
    teacher = Teacher(network, training, configure(tiny_params().compute, CPU, binary=False))
    given = 0
    for epoch in range(3):
        pairs = zip(training.batches(epoch), training.positions(epoch), strict=True)
        for (images, _), positions in pairs:
            logits = teacher.logits(images, positions)
            given += len(images)
            expected = network.linear(network.norm(images).flatten(1))
            torch.testing.assert_close(logits, expected)
            assert not (logits.requires_grad or logits.is_inference())
    assert network.seen == (IMAGES if padding == 0 else given)
    assert not network.training
