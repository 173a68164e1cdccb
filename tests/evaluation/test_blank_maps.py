import pytest
import torch
from torch import nn

from pipeline.distributed import World
from pipeline.evaluation.accuracy import score
from pipeline.evaluation.blank_maps import counted_blank_maps
from pipeline.models.binary import BinaryConv2d, convolution
from pipeline.models.registry import build
from tests.evaluation.test_accuracy import CPU, batches_of
from tests.evaluation.test_cost import BINARY, architecture


def maps_with(*positive, side=20):
    """One image: for each number given, a channel with so many positive pixels, the rest negative.

    Zeros are among the positive ones: sign(0) is +1.
    """
    channels = []
    for count in positive:
        pixels = torch.full((side * side,), -1.0)
        pixels[:count] = torch.arange(count)
        channels.append(pixels.reshape(side, side))
    return torch.stack(channels)


def layer(channels, **changes):
    return convolution(channels, 1, 3, binarization=BINARY.model_copy(update=changes))


def test_a_map_is_blank_below_one_percent_of_either_sign():
    # of 400 pixels: 0 and 3 are below 1 %, 4 is not; the same for the negative ones
    image = maps_with(0, 3, 4, 200, 396, 397, 400)
    model = nn.Sequential(layer(7)).eval()
    with counted_blank_maps(model) as counted, torch.inference_mode():
        model(image[None])
    (found,) = counted.layers().values()
    assert (found.maps, found.blank, found.pixels) == (7, 4, 400)
    assert counted.share() == 4 / 7


def test_one_percent_is_not_below_one_percent_of_any_size():
    # 0.01 * 700 is more than 7 in floating point
    pixels = torch.full((1, 1, 700, 1), -1.0)
    pixels[:, :, :7] = 1
    model = nn.Sequential(layer(1)).eval()
    with counted_blank_maps(model) as counted, torch.inference_mode():
        model(pixels)
        model(pixels * torch.linspace(-1, 1, 700)[:, None])  # the 7 and the last 350 are negative
    assert counted.share() == 0


def test_small_maps_are_blank_if_all_pixels_have_one_sign():
    model = nn.Sequential(layer(4)).eval()
    with counted_blank_maps(model) as counted, torch.inference_mode():
        model(maps_with(0, 1, 15, 16, side=4)[None])
    assert counted.share() == 2 / 4


class TwoLayers(nn.Module):
    """The second layer sees eight channels that the first makes of one."""

    def __init__(self):
        super().__init__()
        self.first = layer(1)
        self.spread = nn.Conv2d(1, 8, 1)
        self.second = convolution(8, 2, 3, binarization=BINARY)
        nn.init.zeros_(self.spread.weight)
        with torch.no_grad():
            self.spread.bias.copy_(torch.tensor([-1.0, -1, -1, 0, 0, 1, 1, 1]))

    def forward(self, images):
        seen = self.spread(self.first(images - 0.5))
        return self.second(seen).mean((2, 3))


def test_one_pass_over_a_split_counts_each_layer_by_name_and_all_maps():
    # the single pixel of image i is i / 255: one sign each; all eight maps of the second are flat
    batches = batches_of([0, 1, 0, 1, 0])
    model = TwoLayers()
    with counted_blank_maps(model) as counted:
        score(model, batches, CPU, World(rank=0, size=1), classes=2)
    layers = counted.layers()
    assert list(layers) == ["first", "second"]
    assert (layers["first"].maps, layers["second"].maps) == (5, 40)
    assert (layers["first"].blank, layers["second"].blank) == (5, 40)
    score(model, batches, CPU, World(rank=0, size=1), classes=2)
    assert counted.layers() == layers  # outside of the block nothing is counted


def test_the_share_weighs_every_map_alike():
    torch.manual_seed(0)
    model = nn.Sequential(layer(1), nn.Conv2d(1, 3, 1), layer(3)).eval()
    nn.init.zeros_(model[1].weight)
    with counted_blank_maps(model) as counted, torch.inference_mode():
        model(maps_with(200)[None])
    assert [each.blank / each.maps for each in counted.layers().values()] == [0, 1]
    assert counted.share() == 3 / 4


@pytest.mark.parametrize("activations", [None, False])
def test_real_inputs_have_no_one_bit_maps(activations):
    binarization = BINARY.model_copy(update={"activations": False})
    model = build(architecture("resnet20", None if activations is None else binarization)).eval()
    with counted_blank_maps(model) as counted, torch.inference_mode():
        model(torch.zeros(1, 3, 32, 32))
    assert counted.layers() == {}
    assert counted.share() is None


def test_counting_changes_no_logit_and_leaves_no_hook_behind():
    torch.manual_seed(0)
    model = build(architecture("resnet20", BINARY)).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model(images)
        with counted_blank_maps(model) as counted:
            assert torch.equal(model(images), expected)
    assert all(not module._forward_pre_hooks for module in model.modules())
    binary = [name for name, each in model.named_modules() if isinstance(each, BinaryConv2d)]
    assert list(counted.layers()) == binary
    assert len(binary) == 18
