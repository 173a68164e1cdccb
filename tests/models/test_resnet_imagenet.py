import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.errors import UserError
from pipeline.evaluation.cost import cost
from pipeline.evaluation.feature_maps import feature_maps
from pipeline.evaluation.weights import layer_statistics
from pipeline.models.binary import BinaryConv2d
from pipeline.models.layers import (
    binary_convolutions,
    mimicked_convolutions,
    regularized_convolutions,
)
from pipeline.models.react import ChannelShift, RPReLU
from pipeline.models.registry import build
from pipeline.models.resnet_imagenet import Block
from tests.models.test_binary import binarization
from tests.models.test_networks import architecture

DEPTHS = (18, 34)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
FORMS = ("bireal", "react")


def network(depth: int, block: str = "bireal", **changes: object) -> nn.Module:
    fields = {"block": block, "classes": 1000, "image_size": 224}
    return build(architecture(f"imagenet_resnet{depth}", **fields | changes))


def torchvision(depth: int, **changes: object) -> nn.Module:
    fields = {"classes": 1000, "image_size": 224}
    return build(architecture(f"torchvision_resnet{depth}", **fields | changes))


# By hand, 1,000 classes and colour images. Stage s has n blocks of width w: 2 n 3x3 convolutions,
# the first from half the width where s > 1, where a 1x1 joins them.
#
# ResNet-18, weights                           ResNet-34
#   conv1   64 x 3 x 49              9,408                              9,408
#   layer1  4 x 64 x 64 x 9        147,456      6 x 36,864            221,184
#   layer2  64 x 128 x 9            73,728                             73,728
#           3 x 128 x 128 x 9      442,368      7 x 147,456         1,032,192
#   layer3  128 x 256 x 9          294,912                            294,912
#           3 x 256 x 256 x 9    1,769,472      11 x 589,824        6,488,064
#   layer4  256 x 512 x 9        1,179,648                          1,179,648
#           3 x 512 x 512 x 9    7,077,888      5 x 2,359,296      11,796,480
#   3x3 together                10,985,472                         21,086,208
#   1x1     64 x 128 + 128 x 256 + 256 x 512 = 172,032                172,032
#   BN      2 x (64 + 4 x 64 + 5 x (128 + 256 + 512)) = 9,600
#                                               2 x (64 + 6 x 64 + 9 x 128 + 13 x 256 + 7 x 512)
#                                                                      17,024
#   fc      512 x 1000 + 1000      513,000                            513,000
#   all                         11,689,512                         21,797,672
CONVOLUTIONS = {18: 10_985_472, 34: 21_086_208}
PARAMETERS = {
    18: 9_408 + 10_985_472 + 172_032 + 9_600 + 513_000,
    34: 9_408 + 21_086_208 + 172_032 + 17_024 + 513_000,
}
# What ReAct adds: a shift before each convolution, as wide as its input, and three values for each
# channel behind it.
#   18: shifts 4 x 64 + (64 + 3 x 128) + (128 + 3 x 256) + (256 + 3 x 512) = 3,392
#       RPReLU 3 x 4 x (64 + 128 + 256 + 512) = 11,520
#   34: shifts 6 x 64 + (64 + 7 x 128) + (128 + 11 x 256) + (256 + 5 x 512) = 7,104
#       RPReLU 3 x (6 x 64 + 8 x 128 + 12 x 256 + 6 x 512) = 22,656
REACT = {18: 3_392 + 11_520, 34: 7_104 + 22_656}
# Filters of the 3x3 convolutions, each with a scale.
FILTERS = {18: 4 * (64 + 128 + 256 + 512), 34: 6 * 64 + 8 * 128 + 12 * 256 + 6 * 512}
# Multiply-accumulates at 224 pixels: 112 behind conv1, then 56, 28, 14 and 7 in the stages. A 3x3
# convolution that keeps width and size takes 64 x 64 x 9 x 56 x 56 = 115,605,504 in every stage,
# the one that enters a stage half of that, a 1x1 64 x 128 x 28 x 28 = 6,422,528 in every stage.
#   binary  18: 4 x c + 3 x (c / 2 + 3 c) = 14.5 c             = 1,676,279,808
#           34: 6 x c + 3 c / 2 + (7 + 11 + 5) x c = 30.5 c     = 3,525,967,872
#   real    conv1 9,408 x 112 x 112 = 118,013,952; 3 x 6,422,528 = 19,267,584; fc 512,000
BINARY_OPERATIONS = {18: 1_676_279_808, 34: 3_525_967_872}
REAL_OPERATIONS = 118_013_952 + 19_267_584 + 512_000
IMAGE = (3, 224, 224)


@pytest.mark.parametrize("block", FORMS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_binary_cost_by_hand(depth: int, block: str) -> None:
    found = cost(network(depth, block, binarization=binarization()), IMAGE)

    parameters = PARAMETERS[depth] + REACT[depth] * (block == "react")
    assert found.parameters == parameters
    real_values = parameters - CONVOLUTIONS[depth] + FILTERS[depth]
    assert found.bits == CONVOLUTIONS[depth] + 32 * real_values
    assert found.binary_operations == BINARY_OPERATIONS[depth]
    assert found.real_operations == REAL_OPERATIONS


@pytest.mark.parametrize("depth", DEPTHS)
def test_cost_of_step_one_and_of_full_precision(depth: int) -> None:
    """The same numbers as torchvision states for its own: 11,689,512 and 21,797,672."""
    step_one = network(depth, binarization=binarization(weights=False))
    for model in (network(depth), step_one, torchvision(depth)):
        found = cost(model, IMAGE)
        assert found.parameters == PARAMETERS[depth] == {18: 11_689_512, 34: 21_797_672}[depth]
        assert found.bits == 32 * PARAMETERS[depth]
        assert found.binary_operations == 0
        assert found.real_operations == BINARY_OPERATIONS[depth] + REAL_OPERATIONS


@pytest.mark.parametrize("depth", DEPTHS)
def test_names_and_shapes_are_those_of_torchvision(depth: int) -> None:
    theirs = torchvision(depth)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    for block in FORMS:
        ours = network(depth, block, binarization=binarization())
        state = ours.state_dict()
        added = state.keys() - shapes.keys()
        assert [name for name in state if name not in added] == list(shapes)
        assert all(state[name].shape == shape for name, shape in shapes.items())
        assert all(re.search(r"\.(before|after)[12]\.", name) for name in added)
        assert bool(added) == (block == "react")
        for chosen in (regularized_convolutions, mimicked_convolutions):
            assert list(chosen(ours)) == list(chosen(theirs))
    plain = network(depth)
    plain.load_state_dict(theirs.state_dict())
    assert torch.equal(plain.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


@pytest.mark.parametrize("depth", DEPTHS)
def test_layers_are_in_the_order_of_the_released_targets(depth: int) -> None:
    expected = []
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        for block in range(blocks):
            expected += [f"layer{stage}.{block}.conv1", f"layer{stage}.{block}.conv2"]
            if stage > 1 and block == 0:
                expected.append(f"layer{stage}.{block}.downsample.0")
    assert len(expected) == {18: 19, 34: 35}[depth]
    for model in (network(depth), network(depth, "react"), torchvision(depth)):
        assert list(regularized_convolutions(model)) == expected


def test_the_downsample_stays_real() -> None:
    model = network(18, binarization=binarization())
    binary = list(binary_convolutions(model))
    assert binary == list(mimicked_convolutions(model))
    assert not isinstance(model.conv1, BinaryConv2d)


@pytest.mark.parametrize("image_size", [64, 224])
@pytest.mark.parametrize("block", FORMS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_every_parameter_learns(depth: int, block: str, image_size: int) -> None:
    torch.manual_seed(0)
    for chosen in (None, binarization(weights=False), binarization()):
        model = network(depth, block, classes=10, binarization=chosen)
        logits = model(torch.randn(2, 3, image_size, image_size))
        assert logits.shape == (2, 10)
        F.cross_entropy(logits, torch.tensor([0, 7])).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("block", FORMS)
def test_twins_load_each_others_weights(block: str) -> None:
    real = network(18, block, classes=10)
    step_one = network(18, block, classes=10, binarization=binarization(weights=False))
    both = network(18, block, classes=10, binarization=binarization())
    assert list(real.state_dict()) == list(step_one.state_dict()) == list(both.state_dict())
    step_one.load_state_dict(real.state_dict())
    both.load_state_dict(step_one.state_dict())
    real.load_state_dict(both.state_dict())

    images = torch.randn(1, 3, 64, 64)
    logits = [model.eval()(images) for model in (real, step_one, both)]
    assert not torch.allclose(logits[0], logits[1])
    assert not torch.allclose(logits[1], logits[2])


def test_react_starts_with_shifts_of_zero() -> None:
    model = network(34, "react")
    shifts = [module for module in model.modules() if isinstance(module, ChannelShift)]
    curves = [module for module in model.modules() if isinstance(module, RPReLU)]
    assert len(shifts) == len(curves) == 32
    assert all((module.shift == 0).all() for module in shifts)
    for module in curves:
        assert (module.gamma == 0).all()
        assert (module.zeta == 0).all()
        assert (module.prelu.weight == 0.25).all()


def normed(layer: nn.Conv2d, norm: nn.BatchNorm2d, seen: torch.Tensor) -> torch.Tensor:
    return norm(F.conv2d(seen, layer.weight, stride=layer.stride, padding=layer.padding))


@pytest.mark.parametrize("step_one", [False, True])
def test_bireal_block_is_its_formula(step_one: bool) -> None:
    """conv(sign x) or, in full precision, conv(clip x); the skips are clipped by nothing."""
    chosen = binarization(weights=False) if step_one else None
    block = Block(4, 8, 2, architecture("imagenet_resnet18", binarization=chosen)).eval()
    x = 3 * torch.randn(2, 4, 6, 6)

    def see(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x >= 0, 1.0, -1.0) if step_one else x.clamp(-1, 1)

    assert block.downsample is not None
    pooled = x.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    half = normed(block.conv1, block.bn1, see(x)) + block.downsample(pooled)
    expected = normed(block.conv2, block.bn2, see(half)) + half
    torch.testing.assert_close(block(x), expected)
    assert expected.abs().max() > 1


@pytest.mark.parametrize("step_one", [False, True])
def test_react_block_is_its_formula(step_one: bool) -> None:
    chosen = binarization(weights=False) if step_one else None
    block = Block(
        4, 4, 1, architecture("imagenet_resnet18", block="react", binarization=chosen)
    ).eval()
    for parameter in block.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    x = torch.randn(2, 4, 6, 6)

    def see(x: torch.Tensor, shift: nn.Module) -> torch.Tensor:
        shifted = x + shift.shift.reshape(1, 4, 1, 1)
        return torch.where(shifted >= 0, 1.0, -1.0) if step_one else shifted

    def bend(x: torch.Tensor, curve: nn.Module) -> torch.Tensor:
        moved = x - curve.gamma.reshape(1, 4, 1, 1)
        slope, zeta = (v.reshape(1, 4, 1, 1) for v in (curve.prelu.weight, curve.zeta))
        return torch.where(moved >= 0, moved, slope * moved) + zeta

    half = bend(normed(block.conv1, block.bn1, see(x, block.before1)) + x, block.after1)
    expected = bend(normed(block.conv2, block.bn2, see(half, block.before2)) + half, block.after2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("image_size", [1, 50, 97])
def test_sides_that_do_not_halve(image_size: int) -> None:
    model = network(18, "react", classes=3, binarization=binarization()).eval()
    assert model(torch.randn(1, 3, image_size, image_size)).shape == (1, 3)


def test_weights_and_feature_maps_can_be_looked_at() -> None:
    torch.manual_seed(0)
    reference = torchvision(18)
    for model in (network(18, "react", binarization=binarization()), reference):
        layers = layer_statistics(model, {}, reference)
        assert len(layers) == 19
        # Gaussian: 3, here within 4 standard errors of the smallest layer, sqrt(24 / 8192).
        assert all(layer.kurtosis == pytest.approx(3, abs=0.22) for layer in layers)
        assert all((layer.teacher_distance == 0) == (model is reference) for layer in layers)
        maps = feature_maps(model, torch.randn(1, 3, 64, 64))
        assert maps["maps"].shape == (16, 16, 16)
        assert ("binary_maps" in maps) == bool(binary_convolutions(model))


@pytest.mark.parametrize("depth", DEPTHS)
def test_torchvision_networks_are_its_own_and_real(depth: int) -> None:
    name = f"torchvision_resnet{depth}"
    assert type(torchvision(depth)).__module__ == "torchvision.models.resnet"
    # It may stand beside students of any block.
    assert torchvision(depth, block="react", classes=7).fc.out_features == 7
    with pytest.raises(UserError, match=f"^network: {name} has no binary form; imagenet"):
        torchvision(depth, binarization=binarization())
    with pytest.raises(UserError, match=f"^network: {name} needs images of 3 channels"):
        torchvision(depth, channels=1)
