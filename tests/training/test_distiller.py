import torch
from torch import nn

from pipeline.device import configure
from pipeline.training.distiller import Teacher
from tests.training.conftest import tiny_params

CPU = torch.device("cpu")


class Small(nn.Module):
    """A linear network with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3 * 4 * 4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(images).flatten(1))


def test_logits_are_those_of_the_frozen_network():
    network = Small()
    teacher = Teacher(network, configure(tiny_params().compute, CPU, binary=False))
    images = torch.rand(6, 3, 4, 4)
    logits = teacher.logits(images)
    torch.testing.assert_close(logits, network(images))
    assert not (logits.requires_grad or logits.is_inference())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
