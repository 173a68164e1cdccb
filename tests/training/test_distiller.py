import pytest
import torch
from torch import nn

from pipeline.device import configure
from pipeline.training.distiller import Distiller
from tests.training.conftest import tiny_params

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_are_the_frozen_networks(precision):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.BatchNorm1d(5), nn.Dropout(1.0))
    compute = tiny_params({"compute.precision": precision}).compute
    distiller = Distiller(network, configure(compute, CPU, binary=False))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.randn(7, 3, 4, 4)
    logits = distiller.logits(images)
    assert logits.dtype == torch.float32
    assert not (logits.requires_grad or logits.is_inference())
    expected = network[2](network[1](images.flatten(1)))
    torch.testing.assert_close(
        logits, expected, atol=0.02 if precision == "bfloat16" else 1e-6, rtol=0
    )
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
