"""The translation, network by network and piece by piece, in the engine itself."""

from copy import deepcopy

import numpy as np
import openvino as ov
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.data.loading.normalization import Normalization
from pipeline.errors import UserError
from pipeline.evaluation.deployed import deploy
from pipeline.inference.engine import compile_options, xnor_convolutions
from pipeline.inference.graph import LARGEST, _before_scale, translate
from pipeline.models.binary import BinaryConv2d, convolution
from tests.inference.conftest import trained_network
from tests.models.test_binary import binarization
from tests.models.test_networks import architecture

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
MEAN_ABSOLUTE = {"weight_scale": "mean_absolute"}
BINARY = {
    "resnet20": architecture("resnet20", binarization=binarization()),
    "resnet20 plain": architecture("resnet20", block="plain", binarization=binarization()),
    "resnet20 mean_absolute": architecture("resnet20", binarization=binarization(**MEAN_ABSOLUTE)),
    "resnet18": architecture("resnet18", binarization=binarization()),
    "resnet18 binary downsample": architecture(
        "resnet18", downsample="binary", binarization=binarization()
    ),
    "resnet18 binary downsample mean_absolute": architecture(
        "resnet18", downsample="binary", binarization=binarization(**MEAN_ABSOLUTE)
    ),
    "vgg_small": architecture("vgg_small", binarization=binarization()),
    "vgg_small mean_absolute": architecture(
        "vgg_small", binarization=binarization(**MEAN_ABSOLUTE)
    ),
    "imagenet_resnet18": architecture(
        "imagenet_resnet18", image_size=40, binarization=binarization()
    ),
    "imagenet_resnet18 react": architecture(
        "imagenet_resnet18", image_size=40, block="react", binarization=binarization()
    ),
    "imagenet_resnet18 react mean_absolute": architecture(
        "imagenet_resnet18",
        image_size=40,
        block="react",
        binarization=binarization(**MEAN_ABSOLUTE),
    ),
    "imagenet_resnet34 react": architecture(
        "imagenet_resnet34", image_size=40, block="react", binarization=binarization()
    ),
}
REAL = {
    "resnet20": architecture("resnet20"),
    "vgg_small": architecture("vgg_small"),
    "imagenet_resnet18": architecture("imagenet_resnet18", image_size=40),
    "imagenet_resnet18 react": architecture("imagenet_resnet18", image_size=40, block="react"),
    "torchvision_resnet18": architecture("torchvision_resnet18", image_size=40),
    "resnet20, weights alone": architecture(
        "resnet20", binarization=binarization(activations=False)
    ),
}


def in_engine(network: nn.Module, pixels: np.ndarray, mean=MEAN, std=STD):
    """Output for `pixels`, the model in execution, and what was translated."""
    translated = translate(network, pixels.shape[1:], mean, std)
    translated.model.reshape(list(pixels.shape))
    compiled = ov.Core().compile_model(translated.model, "CPU", compile_options(threads=1))
    return compiled([pixels])[0], compiled, translated


def in_torch(
    network: nn.Module, pixels: np.ndarray, mean=MEAN, std=STD, dtype=torch.float32
) -> np.ndarray:
    normalize = Normalization(mean, std, pixels.shape[2:], torch.device("cpu"))
    with torch.inference_mode():
        return network.eval()(normalize(torch.from_numpy(pixels)).to(dtype)).numpy()


def random_pixels(count: int, channels: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, size, size), np.uint8)


@pytest.mark.parametrize("name", BINARY)
def test_binary_network_equals_evaluation(name: str) -> None:
    network = trained_network(BINARY[name])
    pixels = random_pixels(4, 3, BINARY[name].image_size)

    logits, compiled, translated = in_engine(network, pixels)

    expected = in_torch(deploy(network), pixels)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
    assert logits.argmax(1).tolist() == expected.argmax(1).tolist()
    layers = sum(isinstance(layer, BinaryConv2d) for layer in network.modules())
    assert translated.binary_convolutions == layers > 0
    assert xnor_convolutions(compiled) == layers


@pytest.mark.parametrize("name", REAL)
def test_network_of_real_input_is_as_exact_as_torch(name: str) -> None:
    """Random batch norms magnify what float32 rounds, differently on each kind of processor."""
    network = trained_network(REAL[name])
    pixels = random_pixels(2, 3, REAL[name].image_size)

    logits, compiled, translated = in_engine(network, pixels)

    expected = in_torch(network, pixels)
    exact = in_torch(network.double(), pixels, dtype=torch.float64)
    error, usual = (np.abs(each - exact).max() for each in (logits, expected))
    assert error <= max(1e-4, 2 * usual) < 0.01
    assert logits.argmax(1).tolist() == expected.argmax(1).tolist()
    assert translated.binary_convolutions == xnor_convolutions(compiled) == 0


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet18 binary downsample mean_absolute",
        "imagenet_resnet18 react mean_absolute",
    ],
)
def test_every_activation_equals_evaluation_to_the_bit(name: str) -> None:
    """Not only nearly: a number off by its last bit may be on the other side of zero."""
    network = trained_network(BINARY[name])
    pixels = random_pixels(4, 3, BINARY[name].image_size)
    stages = [network.conv1, network.bn1, network.layer1, network.layer2, network.layer3]
    for depth in range(3, len(stages) + 1):
        part = nn.Sequential(*stages[:depth])
        found, _, _ = in_engine(part, pixels)
        assert np.array_equal(found, in_torch(deploy(deepcopy(part)), pixels)), depth


def zeros_and_others(channels: int) -> np.ndarray:
    """Pixels that mean 0 and std 1 / 255 leave as they are: zeros, ones and more."""
    return np.random.default_rng(1).integers(0, 3, (2, channels, 9, 9), np.uint8)


@pytest.mark.parametrize("padding", [0, 1])
def test_sign_of_zero_is_plus_one(padding: int) -> None:
    layer = convolution(64, 32, 1 + 2 * padding, binarization=binarization())
    blank = np.zeros((1, 64, 9, 9), np.uint8)

    sums, compiled, _ = in_engine(nn.Sequential(layer), blank, (0.0,) * 64, (1.0,) * 64)

    weight = layer.quantized_weight().detach()
    expected = torch.conv2d(torch.ones(1, 64, 9, 9), weight, padding=padding)
    assert np.array_equal(sums, expected.numpy())
    assert xnor_convolutions(compiled) == 1


@pytest.mark.parametrize("shift", [-1.0, -0.0, 0.0, 1e-30, -1e-30])
def test_sign_behind_a_batch_norm(shift: float) -> None:
    """Factors of either sign and zero, on inputs whose batch norm gives exactly zero."""
    channels = 48
    layer = convolution(channels, 8, 3, binarization=binarization())
    norm = nn.BatchNorm2d(channels, eps=0.0).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -1.0, 0.0] * (channels // 3)))
        norm.bias.fill_(shift)
    network = nn.Sequential(nn.Identity(), norm, nn.Hardtanh(), layer)
    pixels = zeros_and_others(channels)
    mean, std = (0.0,) * channels, (1 / 255,) * channels
    assert (norm(torch.from_numpy(pixels).float()) == 0).any() == (abs(shift) != 1e-30)

    sums, _, _ = in_engine(network, pixels, mean, std)

    assert np.array_equal(sums, in_torch(network, pixels, mean, std))


def test_threshold_of_a_number_that_is_yet_to_be_scaled() -> None:
    """Sums whose scaled value lies on a threshold, next to it, and anywhere."""
    rng = np.random.default_rng(0)
    scale = np.append(rng.uniform(1e-3, 3, 5000), [0, 0, 0, 0.125]).astype(np.float32)
    sums = rng.integers(-4608, 4609, scale.size).astype(np.float32)
    scaled = sums * scale
    limits = [scaled, np.nextafter(scaled, -LARGEST), np.nextafter(scaled, LARGEST)]
    limits += [np.full_like(scaled, LARGEST), np.full_like(scaled, -LARGEST)]
    limits += [rng.normal(size=scale.size).astype(np.float32)]
    for threshold in limits:
        assert np.array_equal(sums > _before_scale(threshold, scale), scaled > threshold)


def test_one_bit_for_each_binary_weight() -> None:
    network = trained_network(BINARY["resnet18"])
    translated = translate(network, (3, 32, 32), MEAN, STD)
    one_bit = [
        node
        for node in translated.model.get_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == ov.Type.u1
    ]
    layers = [layer for layer in network.modules() if isinstance(layer, BinaryConv2d)]

    elements = sorted(int(np.prod(node.get_output_shape(0))) for node in one_bit)
    assert elements == sorted(layer.weight.numel() for layer in layers)
    assert translated.folded_scales == sum(layer.out_channels for layer in layers)


def test_a_layer_without_translation() -> None:
    message = r"^Sequential: GELU cannot be exported \(_1\)$"
    with pytest.raises(UserError, match=message):
        translate(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU()), (3, 8, 8), MEAN, STD)


class _Functional(nn.Module):
    """What networks may call as functions where those here have layers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = F.relu(F.hardtanh(images, -0.5, 2.0), inplace=True)
        return torch.flatten(F.max_pool2d(out, 3, stride=2, padding=1) + out[:, :, ::2, ::2], 1)


def test_functions() -> None:
    pixels = random_pixels(2, 3, 9)
    found, _, _ = in_engine(_Functional(), pixels)
    assert np.array_equal(found, in_torch(_Functional(), pixels))
