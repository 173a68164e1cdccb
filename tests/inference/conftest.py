from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.inference.export import export
from pipeline.models.architecture import Architecture
from pipeline.models.react import ChannelShift, RPReLU
from pipeline.models.registry import build
from pipeline.models.saved import Description, save_trained
from pipeline.params import load_params
from tests.models.test_binary import binarization
from tests.models.test_networks import architecture


@pytest.fixture(autouse=True)
def _one_thread():
    """The networks are small: on a busy machine threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained_network(described: Architecture) -> nn.Module:
    """Random weights, and what training changes: batch norms, shifts and slopes of any sign."""
    torch.manual_seed(5)
    network = build(described)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.normal_()
                layer.bias.normal_()
            elif isinstance(layer, ChannelShift | RPReLU):
                for parameter in layer.parameters():
                    parameter.normal_(std=0.5)
        network.train()
        for _ in range(2):  # running statistics that fit better than zeros and ones
            network(torch.randn(4, described.channels, *(described.image_size,) * 2))
    return network.eval()


def save_network(folder: Path, params: Path, described: Architecture, row: str) -> Path:
    """A trained network's folder."""
    state = trained_network(described).state_dict()
    description = Description(
        architecture=described,
        row=row,
        seed=1,
        losses=("cross_entropy",),
        teacher=None,
        best_epoch=1,
        validation_top1=0.5,
        debug=False,
        params=load_params(params).recorded(),
    )
    save_trained(folder, description, state, state)
    return folder


@pytest.fixture
def model(write_params, tmp_path) -> Path:
    """A binary ResNet-20 for the tiny digits."""
    described = architecture("resnet20", channels=1, image_size=8, binarization=binarization())
    return save_network(tmp_path / "models/model", write_params(), described, "binary")


@pytest.fixture
def exported(model, tiny_digits, tmp_path) -> Path:
    """Its export."""
    folder = tmp_path / "exports/digits/resnet20-binary-1"
    export(model, tiny_digits, folder)
    return folder
