import pytest
import torch
from torch import nn

from pipeline.evaluation.deployed import DeployedConv2d, deploy
from pipeline.models.binary import BinaryConv2d, convolution
from pipeline.models.registry import build
from tests.models.test_binary import binarization
from tests.models.test_networks import architecture


def outputs(network: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As trained, and deployed."""
    with torch.inference_mode():
        return network.eval()(images), deploy(network)(images)


def test_power_of_two_scales_change_no_bit() -> None:
    torch.manual_seed(0)
    network = build(architecture("resnet20", binarization=binarization()))
    trained, deployed = outputs(network, torch.randn(8, 3, 32, 32))
    assert torch.equal(trained, deployed)


@pytest.mark.parametrize("scale", ["power_of_two", "mean_absolute"])
def test_the_sums_are_whole_numbers(scale: str) -> None:
    torch.manual_seed(0)
    layer = convolution(64, 8, 3, stride=2, binarization=binarization(weight_scale=scale))
    images = torch.randn(2, 64, 9, 9)
    whole = torch.conv2d(
        layer.quantized_input(images).double(),
        layer.quantized_weight().sign().double(),
        stride=2,
        padding=1,
    ).float()
    factor = layer.quantized_weight()[:, 0, 0, 0].abs()[:, None, None]

    trained, deployed = outputs(nn.Sequential(layer), images)

    assert torch.equal(deployed, whole * factor)
    assert torch.allclose(deployed, trained, rtol=1e-4, atol=1e-4)


def test_weights_stay_and_real_layers_too() -> None:
    network = build(architecture("resnet20", binarization=binarization()))
    names, weight = list(network.state_dict()), network.layer1[0].conv1.weight
    deploy(network.eval())
    assert list(network.state_dict()) == names
    assert network.layer1[0].conv1.weight is weight
    assert not network.layer1[0].conv1.training
    assert sum(isinstance(layer, DeployedConv2d) for layer in network.modules()) == 18
    half = deploy(build(architecture("resnet20", binarization=binarization(activations=False))))
    assert type(half.layer1[0].conv1) is BinaryConv2d
