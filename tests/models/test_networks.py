from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipeline.errors import UserError
from pipeline.models import resnet18, resnet20, resnet_imagenet
from pipeline.models.architecture import Architecture
from pipeline.models.binary import BinaryConv2d, set_ede
from pipeline.models.layers import (
    binary_convolutions,
    mimicked_convolutions,
    regularized_convolutions,
)
from pipeline.models.registry import BLOCKS, CONSTRUCTORS, build
from pipeline.names import NETWORKS
from tests.models.test_binary import binarization

BINARY_NETWORKS = [name for name in NETWORKS if not name.startswith("torchvision_")]


def architecture(network: str, **changes: object) -> Architecture:
    fields = {
        "network": network,
        "classes": 10,
        "channels": 3,
        "image_size": 32,
        "block": "bireal",
        "activation": "hardtanh",
        "downsample": "real",
        "binarization": None,
    }
    return Architecture.model_validate(fields | changes)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def elements(convolutions: dict[str, nn.Conv2d]) -> int:
    return sum(convolution.weight.numel() for convolution in convolutions.values())


def multiply_accumulates(model: nn.Module, images: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and classifier, for one image."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.Linear)
        counts.append(output[0].numel() * module.weight[0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model.eval()(images)
    return sum(counts)


def test_the_table_has_every_network() -> None:
    assert CONSTRUCTORS.keys() == NETWORKS.keys()
    assert BLOCKS.keys() <= NETWORKS.keys()


def test_an_unknown_network() -> None:
    with pytest.raises(ValidationError, match="'resnet50' is unknown, allowed are resnet20, resn"):
        architecture("resnet50")


@pytest.mark.parametrize(
    ("network", "block", "allowed"),
    [
        ("resnet20", "react", "bireal or plain"),
        ("resnet18", "react", "bireal or plain"),
        ("vgg_small", "react", "bireal or plain"),
        ("imagenet_resnet18", "plain", "bireal or react"),
        ("imagenet_resnet34", "plain", "bireal or react"),
    ],
)
def test_a_block_that_a_network_does_not_have(network: str, block: str, allowed: str) -> None:
    message = f"network.block is '{block}': {network} allows {allowed}"
    with pytest.raises(UserError, match=f"^{message}$"):
        build(architecture(network, block=block))


@pytest.mark.parametrize("block", ["bireal", "plain"])
def test_resnet20_size(block: str) -> None:
    model = build(architecture("resnet20", block=block, binarization=binarization()))

    stage1 = 6 * 16 * 16 * 9
    stage2 = 16 * 32 * 9 + 5 * 32 * 32 * 9
    stage3 = 32 * 64 * 9 + 5 * 64 * 64 * 9
    batch_norms = 2 * (16 + 6 * (16 + 32 + 64) + 64)
    assert stage1 + stage2 + stage3 == 267_264
    assert elements(binary_convolutions(model)) == 267_264
    assert len(binary_convolutions(model)) == 18
    assert parameters(model) == 3 * 16 * 9 + 267_264 + batch_norms + 64 * 10 + 10 == 269_850
    assert multiply_accumulates(model, torch.zeros(1, 3, 32, 32)) == 40_551_040


@pytest.mark.parametrize(("downsample", "binary"), [("real", 16), ("binary", 19)])
def test_resnet18_size(downsample: str, binary: int) -> None:
    model = build(architecture("resnet18", downsample=downsample, binarization=binarization()))

    stages = 4 * 64 * 64 * 9
    skips = 0
    for width in (128, 256, 512):
        stages += (width // 2) * width * 9 + 3 * width * width * 9
        skips += (width // 2) * width
    assert stages + skips == 11_157_504
    regularized = regularized_convolutions(model)
    assert len(regularized) == 19
    assert elements(regularized) == stages + skips
    assert len(binary_convolutions(model)) == binary
    assert elements(binary_convolutions(model)) == stages + skips * (downsample == "binary")
    batch_norms = 2 * (64 + 4 * 64 + 5 * (128 + 256 + 512) + 512)
    assert parameters(model) == 3 * 64 * 9 + stages + skips + batch_norms + 512 * 10 + 10
    assert parameters(model) == 11_174_986
    macs = multiply_accumulates(model, torch.zeros(1, 3, 32, 32))
    assert macs == 555_422_720


@pytest.mark.parametrize(("image_size", "features"), [(32, 8192), (16, 2048)])
def test_vgg_small_size(image_size: int, features: int) -> None:
    model = build(architecture("vgg_small", image_size=image_size, binarization=binarization()))

    widths = [128, 128, 256, 256, 512, 512]
    binary = sum(9 * before * after for before, after in pairwise(widths))
    assert elements(binary_convolutions(model)) == binary == 4_571_136
    classifier = features * 10 + 10
    assert parameters(model) == 3 * 128 * 9 + binary + 2 * sum(widths) + classifier
    if image_size == 32:
        assert parameters(model) == 4_660_106
        assert multiply_accumulates(model, torch.zeros(1, 3, 32, 32)) == 607_600_640


@pytest.mark.parametrize("image_size", [16, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", BINARY_NETWORKS)
def test_twins_share_names_and_weights(network: str, channels: int, image_size: int) -> None:
    shared = {"channels": channels, "image_size": image_size, "classes": 7}
    real = build(architecture(network, **shared))
    binary = build(architecture(network, **shared, binarization=binarization()))

    assert not binary_convolutions(real)
    assert list(real.state_dict()) == list(binary.state_dict())
    assert list(dict(real.named_parameters())) == list(dict(binary.named_parameters()))
    assert list(regularized_convolutions(real)) == list(regularized_convolutions(binary))
    binary.load_state_dict(real.state_dict())
    for ours, theirs in zip(binary.parameters(), real.parameters(), strict=True):
        assert torch.equal(ours, theirs)

    images = torch.randn(2, channels, image_size, image_size)
    for model in (real, binary):
        logits = model.eval()(images)
        assert logits.shape == (2, 7)
        assert logits.isfinite().all()


def test_resnet18_layers_are_in_the_order_of_the_released_targets() -> None:
    model = build(architecture("resnet18"))

    expected = []
    for stage in range(1, 5):
        for block in range(2):
            expected += [f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2"]
            if stage > 1 and block == 0:
                expected.append(f"layer{stage}.{block}.downsample.0")
    assert list(regularized_convolutions(model)) == expected
    assert list(mimicked_convolutions(model)) == [n for n in expected if "downsample" not in n]


def test_module_names() -> None:
    names = dict(build(architecture("resnet20")).named_modules())
    assert {"conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer3.2.conv2", "linear"} <= set(
        names
    )
    names = dict(build(architecture("resnet18")).named_modules())
    assert {"conv1", "layer2.0.downsample.0", "layer2.0.downsample.1", "linear"} <= set(names)


@pytest.mark.parametrize("network", BINARY_NETWORKS)
def test_one_step_moves_every_parameter(network: str) -> None:
    model = build(architecture(network, image_size=16, channels=1, binarization=binarization()))
    set_ede(model, 0.1, 10.0)

    logits = model(torch.randn(4, 1, 16, 16))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("network", BINARY_NETWORKS)
def test_channels_last_computes_the_same(network: str) -> None:
    # float64: in float32 an activation near zero may round to another sign in the other format
    model = build(architecture(network, image_size=16, binarization=binarization())).eval().double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = model(images)

    model = model.to(memory_format=torch.channels_last)
    logits = model(images.to(memory_format=torch.channels_last))

    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_block_forms_differ_in_the_skip_around_the_first_convolution() -> None:
    """With all batch norms of the blocks at zero only the skips are left: bireal keeps them all."""
    outputs = {}
    for block in ("bireal", "plain"):
        stage = build(architecture("resnet20", block=block)).eval().layer2[0]
        nn.init.zeros_(stage.bn2.weight)
        nn.init.zeros_(stage.bn1.weight)
        x = torch.rand(1, 16, 8, 8) * 2 - 1
        padded = torch.zeros(1, 32, 4, 4)
        padded[:, 8:24] = x[:, :, ::2, ::2]
        assert torch.equal(stage(x), padded)
        nn.init.ones_(stage.bn1.weight)
        outputs[block] = torch.equal(stage(x), padded)
    assert outputs == {"bireal": False, "plain": True}


def test_he_initialization() -> None:
    torch.manual_seed(3)
    model = build(architecture("resnet18"))
    for name, convolution in regularized_convolutions(model).items():
        fan_in = convolution.weight[0].numel()
        spread = convolution.weight.std().item() * (fan_in / 2) ** 0.5
        assert spread == pytest.approx(1, abs=0.03), name
    torch.manual_seed(3)
    again = build(architecture("resnet18"))
    assert torch.equal(again.linear.weight, model.linear.weight)


def test_images_too_small_for_vgg() -> None:
    with pytest.raises(UserError, match=r"data.image_size is 7: vgg_small needs at least 8"):
        build(architecture("vgg_small", image_size=7))


@pytest.mark.parametrize(
    ("weights", "activations"), [(True, False), (False, True), (True, True), (False, False)]
)
def test_weights_and_activations_binarize_apart(weights: bool, activations: bool) -> None:
    chosen = binarization(weights=weights, activations=activations)
    model = build(architecture("resnet20", image_size=16, binarization=chosen)).eval()
    seen = {}

    def remember(module: nn.Module, inputs: tuple[torch.Tensor], _: object) -> None:
        assert isinstance(module, BinaryConv2d)
        seen["input"] = module.quantized_input(inputs[0])
        seen["weight"] = module.quantized_weight()[0]

    model.layer1[1].conv1.register_forward_hook(remember)
    model(torch.randn(2, 3, 16, 16))

    assert (seen["input"].unique().tolist() == [-1, 1]) == activations
    assert (seen["weight"].abs().unique().numel() == 1) == weights


def test_compiles_to_one_graph_that_the_ede_schedule_keeps() -> None:
    """aot_eager traces forward and backward as torch.compile does, without generating code."""
    chosen = binarization()
    model = nn.Sequential(
        resnet20.Block(3, 7, 2, architecture("resnet20", binarization=chosen)),
        resnet18.Block(7, 6, 2, architecture("resnet18", downsample="binary", binarization=chosen)),
        resnet_imagenet.Block(
            6, 5, 2, architecture("imagenet_resnet18", block="react", binarization=chosen)
        ),
        resnet_imagenet.Block(5, 4, 2, architecture("imagenet_resnet18", binarization=chosen)),
    )
    images = torch.randn(4, 3, 16, 16)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for t, k in ((0.1, 10.0), (1.5, 1.0)):
            set_ede(model, t, k)
            gradients = []
            for forward in (model, compiled):
                model.zero_grad()
                forward(images).square().mean().backward()
                gradients.append([parameter.grad for parameter in model.parameters()])
            for eager, traced in zip(*gradients, strict=True):
                torch.testing.assert_close(eager, traced, rtol=1e-3, atol=1e-5)
