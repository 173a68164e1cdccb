import pytest
import torch

from pipeline.evaluation.feature_maps import feature_maps
from pipeline.models.registry import build
from tests.evaluation.test_cost import BINARY, architecture


@pytest.fixture
def image():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_maps_are_the_input_of_the_second_regularized_convolution(image):
    torch.manual_seed(0)
    model = build(architecture("resnet20", None)).eval()
    maps = feature_maps(model, image)
    assert list(maps) == ["maps"]
    block = model.layer1[0]
    with torch.inference_mode():
        entry = model.bn1(model.conv1(image)).clamp(-1, 1)
        expected = (block.bn1(block.conv1(entry)) + entry).clamp(-1, 1)
    torch.testing.assert_close(maps["maps"], expected[0])
    assert maps["maps"].shape == (16, 32, 32)


def test_binary_maps_are_the_signs_of_the_maps(image):
    maps = feature_maps(build(architecture("resnet20", BINARY)), image)
    assert maps["binary_maps"].dtype == torch.int8
    expected = torch.where(maps["maps"] >= 0, 1, -1)
    assert torch.equal(maps["binary_maps"].long(), expected)
    assert set(maps["binary_maps"].unique().tolist()) == {-1, 1}


def test_wide_layers_keep_sixteen_channels(image):
    maps = feature_maps(build(architecture("vgg_small", BINARY)), image)
    assert len(maps["maps"]) == len(maps["binary_maps"]) == 16


def test_binary_weights_alone_leave_real_maps(image):
    only_weights = BINARY.model_copy(update={"activations": False})
    model = build(architecture("resnet20", only_weights))
    assert list(feature_maps(model, image)) == ["maps"]
    assert all(not layer._forward_pre_hooks for layer in model.modules())
