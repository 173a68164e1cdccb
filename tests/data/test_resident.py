import itertools

import numpy as np
import pytest
import torch

from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import Split
from pipeline.params import Augmentation
from tests.conftest import needs_cuda
from tests.data.conftest import here

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


def random_split(count: int) -> Split:
    """Random images of 6x6; labels are their indices, so that a batch tells what it holds."""
    generator = np.random.default_rng(0)
    return Split(generator.integers(0, 256, (count, 3, 6, 6), np.uint8), np.arange(count))


def make(count=50, *, padding=2, flip=True, batch_size=8, seed=1, **where) -> ResidentBatches:
    augmentation = Augmentation(crop_padding=padding, horizontal_flip=flip)
    options = {"batch_size": batch_size, "augmentation": augmentation, "seed": seed}
    return ResidentBatches(random_split(count), MEAN, STD, **options, **here(**where))


def evaluation(count=50, *, batch_size=8, **where) -> ResidentBatches:
    options = {"batch_size": batch_size, "augmentation": None, "seed": 1}
    return ResidentBatches(random_split(count), MEAN, STD, **options, **here(**where))


def normalized(images: np.ndarray) -> torch.Tensor:
    mean, std = (np.array(values)[:, None, None] for values in (MEAN, STD))
    return torch.from_numpy(((images / 255 - mean) / std).astype(np.float32))


def pixels(images: torch.Tensor) -> np.ndarray:
    """The uint8 pixels that were normalized."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return ((images.cpu() * std + mean) * 255).round().to(torch.uint8).numpy()


def whole(batches: ResidentBatches, epoch: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches.batches(epoch), strict=True)
    return torch.cat(images).cpu(), torch.cat(labels).cpu()


def test_evaluation_gives_every_image_once_in_order_and_normalized():
    batches = evaluation()
    images, labels = whole(batches)
    assert len(batches) == 7
    assert labels.tolist() == list(range(50))
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(images, normalized(random_split(50).images))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("padding", "flip"), [(0, False), (0, True), (1, False), (1, True), (2, True), (7, False)]
)
def test_each_image_is_one_naive_crop_of_its_own_and_every_crop_occurs(device, padding, flip):
    split = random_split(24)
    padded = np.pad(split.images, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    corners = range(2 * padding + 1)
    crops = list(itertools.product(corners, corners, (1, -1) if flip else (1,)))
    naive = [
        {
            image[:, top : top + 6, left : left + 6][..., ::step].tobytes(): (top, left, step)
            for top, left, step in crops
        }
        for image in padded
    ]
    batches = make(24, padding=padding, flip=flip, device=device)
    drawn = set()
    for epoch in range(20 if padding < 7 else 80):
        images, labels = whole(batches, epoch)
        drawn |= {
            naive[label][image.tobytes()]
            for image, label in zip(pixels(images), labels.tolist(), strict=True)
        }
    distinct = {crop for of_image in naive for crop in of_image.values()}
    assert drawn == distinct
    if padding < 6:
        assert len(distinct) == len(crops)


def test_an_epoch_is_a_pure_function_of_seed_and_epoch():
    batches = make()
    images, labels = whole(batches, 3)
    whole(batches, 4)
    for again in (whole(batches, 3), whole(make(), 3)):
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], labels)
    torch.manual_seed(5)
    assert torch.equal(whole(batches, 3)[0], images)
    for other in (whole(batches, 4), whole(make(seed=2), 3), whole(make(seed=3), 1)):
        assert not torch.equal(other[1], labels)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (50, 8, [8, 7, 7, 7, 7, 7, 7]),
        (48, 8, [8] * 6),
        (5, 8, [5]),
        (8, 8, [8]),
        (15, 8, [8, 7]),
        (9, 8, [5, 4]),
    ],
)
@pytest.mark.parametrize("kind", [make, evaluation])
def test_an_epoch_has_every_image_once_in_batches_of_nearly_one_size(
    kind, count, batch_size, sizes
):
    batches = kind(count, batch_size=batch_size)
    labels = [labels.tolist() for _, labels in batches.batches(0)]
    assert [len(each) for each in labels] == sizes
    assert len(batches) == len(sizes)
    assert sorted(itertools.chain(*labels)) == list(range(count))


@pytest.mark.parametrize(("count", "world_size"), [(9, 4), (17, 3), (16, 2), (50, 1)])
def test_sizes_are_those_of_the_global_batches_and_shares_differ_by_one_image(count, world_size):
    ranks = [make(count, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [[len(labels) for _, labels in batches.batches(0)] for batches in ranks]
    sizes = [list(batches.sizes()) for batches in ranks]
    assert sizes == [[sum(each) for each in zip(*shares, strict=True)]] * world_size
    assert all(max(each) - min(each) <= 1 for each in zip(*shares, strict=True))


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("kind", [make, evaluation])
def test_ranks_together_give_the_batches_of_one_process(world_size, kind):
    alone = list(kind(45).batches(2))
    ranks = [
        list(kind(45, rank=rank, world_size=world_size).batches(2)) for rank in range(world_size)
    ]
    for (images, labels), *shares in zip(alone, *ranks, strict=True):
        assert torch.equal(torch.cat([share[0] for share in shares]), images)
        assert torch.equal(torch.cat([share[1] for share in shares]), labels)


@pytest.mark.parametrize(("count", "world_size"), [(9, 4), (17, 3), (3, 5), (16, 2)])
def test_evaluation_covers_every_image_once_whatever_the_number_of_ranks(count, world_size):
    ranks = [evaluation(count, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    labels = [label for batches in ranks for label in whole(batches)[1].tolist()]
    assert sorted(labels) == list(range(count))


@pytest.mark.parametrize("kind", [make, evaluation])
def test_an_empty_share_has_the_shape_of_a_batch(kind):
    (images, labels), *_ = kind(3, batch_size=8, rank=0, world_size=4).batches(0)
    assert (images.shape, labels.shape) == ((0, 3, 6, 6), (0,))


@pytest.mark.parametrize("kind", [make, evaluation])
def test_channels_last_changes_the_memory_format_alone(kind):
    for (images, _), (expected, _) in zip(
        kind(channels_last=True).batches(0), kind().batches(0), strict=True
    ):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert not images.is_contiguous()
        assert expected.is_contiguous()
        assert torch.equal(images, expected)


@needs_cuda
def test_cuda_sees_the_same_batches_as_the_cpu():
    for (images, labels), (expected, targets) in zip(
        make(device="cuda").batches(1), make().batches(1), strict=True
    ):
        torch.testing.assert_close(images.cpu(), expected)
        assert torch.equal(labels.cpu(), targets)
