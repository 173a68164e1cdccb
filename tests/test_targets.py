"""Kurtosis targets: one for all layers, one for each, or the released lists."""

import pytest

from pipeline.errors import UserError
from pipeline.models.layers import regularized_convolutions
from pipeline.models.registry import build
from pipeline.targets import (
    RESNET18_LAYERS,
    WITH_TEACHER,
    WITHOUT_TEACHER,
    layer_targets,
    parse_targets,
)
from tests.models.test_networks import architecture

NO_TEACHER, TEACHER = ("cross_entropy", "kurtosis"), ("distillation", "mimicking", "kurtosis")
RELEASED = {  # METHOD, written out
    "imagenet, no teacher": [
        *[1.8, 1.4, 1.4, 1.4, 1.4, 1.2, 1.4, 1.2, 1.2],
        *[1.4, 1.4, 1.4, 1.2, 1.2, 1.2, 1.2, 1.4, 1.0, 1.0],
    ],
    "cifar10, no teacher": [1.4] * 14 + [1.8] * 4 + [2.2],
    "teacher": [
        *[1.8, 1.8, 1.8, 1.8, 1.8, 1.8, 1.4, 1.8, 1.8, 1.8],
        *[1.4, 1.4, 1.4, 1.4, 1.8, 1.2, 1.4, 1.2, 1.2],
    ],
}


def layers(network: str) -> list[str]:
    size = {"classes": 10, "image_size": 64 if network.startswith("imagenet") else 32}
    return list(regularized_convolutions(build(architecture(network, **size))))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (1.8, (1.8,)),
        (2, (2.0,)),
        ("1.8", (1.8,)),
        ("1.4 x2, 1.8, 2.2 x 3", (1.4, 1.4, 1.8, 2.2, 2.2, 2.2)),
        ("1.4 1.8", (1.4, 1.8)),
        ("2.", (2.0,)),
    ],
)
def test_targets(target, expected):
    assert parse_targets(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "",
        " , ",
        "-1.8",
        "1.8x",
        "1.8x99999",
        "x3",
        "1,8 y2",
        "nan",
        "٣",
        10**7,
        10**400,
        "1.8x9999",
    ],
)
def test_no_targets(target):
    with pytest.raises(ValueError, match="target"):
        parse_targets(target)


@pytest.mark.parametrize("target", ["1.4" + " " * 10**6 + "y", "1.8x9999 " * 10**5])
def test_a_list_without_end_is_refused_at_once(target):
    with pytest.raises(ValueError, match=r"characters, at most 4000 are allowed"):
        parse_targets(target)


def test_one_target_for_all_layers_or_one_for_each():
    names = ["layer1.conv1", "layer1.conv2", "layer2.conv1"]
    assert layer_targets(1.8, names, NO_TEACHER) == dict.fromkeys(names, 1.8)
    assert layer_targets("1.4", names, TEACHER) == dict.fromkeys(names, 1.4)
    listed = layer_targets("1.4 x2, 2.2", names, TEACHER)
    assert list(listed.items()) == list(zip(names, (1.4, 1.4, 2.2), strict=True))
    assert layer_targets(1.8, names, ("cross_entropy", "mimicking")) == {}
    with pytest.raises(UserError) as error:
        layer_targets("1.4 x14, 1.8 x4, 2.2", names, NO_TEACHER)
    assert str(error.value) == (
        "kurtosis.target has 19 targets: the network has 3 regularized layers "
        "(layer1.conv1 to layer2.conv1); give one target or 3"
    )
    with pytest.raises(UserError, match="has 2 targets"):
        layer_targets("1.4, 1.8", names, NO_TEACHER)


@pytest.mark.parametrize("network", ["resnet18", "imagenet_resnet18", "torchvision_resnet18"])
def test_released_targets_are_those_of_the_layers_of_resnet18(network):
    names = layers(network)
    assert names == list(RESNET18_LAYERS)
    for target in ("imagenet", "cifar10"):
        alone = layer_targets(f"released {target}", names, NO_TEACHER)
        assert list(alone) == names
        assert list(alone.values()) == RELEASED[f"{target}, no teacher"]
        taught = layer_targets(f"released {target}", names, TEACHER)
        assert list(taught.values()) == RELEASED["teacher"]


def test_further_blocks_of_resnet34_have_the_targets_of_the_second():
    names = layers("imagenet_resnet34")
    targets = layer_targets("released imagenet", names, NO_TEACHER)
    assert list(targets) == names
    assert list(targets.values()) == [
        *[1.8, 1.4, 1.4, 1.4, 1.4, 1.4],
        *[1.4, 1.2, 1.4, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2],
        *[1.4, 1.4, 1.4, *[1.2, 1.2] * 5],
        *[1.2, 1.2, 1.4, 1.0, 1.0, 1.0, 1.0],
    ]


def test_a_list_for_resnet18_does_not_fit_resnet34():
    names = layers("imagenet_resnet34")
    assert layer_targets(1.8, names, NO_TEACHER) == dict.fromkeys(names, 1.8)
    message = "kurtosis.target has 19 targets: the network has 35 regularized layers"
    for targets in (WITH_TEACHER, *WITHOUT_TEACHER.values()):
        assert len(layer_targets(targets, RESNET18_LAYERS, NO_TEACHER)) == 19
        with pytest.raises(UserError, match=message):
            layer_targets(targets, names, NO_TEACHER)


@pytest.mark.parametrize("network", ["resnet20", "vgg_small"])
def test_other_networks_have_no_released_targets(network):
    with pytest.raises(UserError, match="'released cifar10', which is for ResNet-18 and ResNet-34"):
        layer_targets("released cifar10", layers(network), NO_TEACHER)
