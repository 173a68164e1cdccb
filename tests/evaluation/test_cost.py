import pytest
from torch import nn

from pipeline.evaluation.cost import cost
from pipeline.models.architecture import Architecture
from pipeline.models.binary import convolution
from pipeline.models.registry import build
from pipeline.params import Binarization

BINARY = Binarization(
    weights=True,
    activations=True,
    sign_gradient="ede",
    ede_t_min=0.1,
    ede_t_max=2.0,
    weight_scale="power_of_two",
)


def tiny(binarization):
    return nn.Sequential(
        convolution(1, 2, 3, binarization=None),  # 2x4x4 outputs of 9 weights: 288
        nn.BatchNorm2d(2),
        convolution(2, 3, 3, stride=2, binarization=binarization),  # 3x2x2 of 18: 216
        nn.Flatten(),
        nn.Linear(12, 5),  # 60
    )


@pytest.mark.parametrize(
    ("weights", "activations", "binary", "real", "bits"),
    [
        # 18 + 4 + 54 + 65 parameters; as binary weights 54 bits and 3 scales
        (True, True, 216, 288 + 60, 54 + 32 * (3 + 18 + 4 + 65)),
        (True, False, 0, 288 + 216 + 60, 54 + 32 * (3 + 18 + 4 + 65)),
        (False, True, 0, 288 + 216 + 60, 32 * 141),
    ],
)
def test_tiny_network_costs_what_it_does_by_hand(weights, activations, binary, real, bits):
    binarization = BINARY.model_copy(update={"weights": weights, "activations": activations})
    found = cost(tiny(binarization), (1, 4, 4))
    assert (found.parameters, found.bits) == (141, bits)
    assert (found.binary_operations, found.real_operations) == (binary, real)


def test_full_precision_network_has_no_binary_part():
    found = cost(tiny(None), (1, 4, 4))
    assert (found.bits, found.binary_operations) == (32 * 141, 0)
    assert found.real_operations == 288 + 216 + 60


def test_grouped_convolution_counts_the_channels_each_filter_reads():
    grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    assert cost(grouped, (4, 5, 5)).real_operations == 4 * 25 * (2 * 9)


def test_counting_leaves_no_hook_behind():
    model = tiny(BINARY)
    cost(model, (1, 4, 4))
    assert all(not layer._forward_hooks for layer in model.modules())


def architecture(network, binarization):
    return Architecture(
        network=network,
        classes=10,
        channels=3,
        image_size=32,
        block="bireal",
        activation="hardtanh",
        downsample="real",
        binarization=binarization,
    )


def test_resnet20_on_cifar():
    found = cost(build(architecture("resnet20", BINARY)), (3, 32, 32))
    stage1 = 6 * 16 * 32 * 32 * 16 * 9
    stage2 = 32 * 16 * 16 * 9 * (16 + 5 * 32)
    stage3 = 64 * 8 * 8 * 9 * (32 + 5 * 64)
    assert found.binary_operations == stage1 + stage2 + stage3 == 40_108_032
    assert found.real_operations == 16 * 32 * 32 * 27 + 64 * 10


def test_resnet18_on_cifar_keeps_its_downsample_convolutions_real():
    twins = [cost(build(architecture("resnet18", each)), (3, 32, 32)) for each in (None, BINARY)]
    totals = {each.binary_operations + each.real_operations for each in twins}
    assert len(totals) == 1
    assert totals.pop() / 1e6 == pytest.approx(555.4, abs=0.05)  # published for this network
    downsample = 128 * 16 * 16 * 64 + 256 * 8 * 8 * 128 + 512 * 4 * 4 * 256
    assert twins[1].real_operations == 64 * 32 * 32 * 27 + downsample + 512 * 10
