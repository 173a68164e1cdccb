import numpy as np
import pytest

from pipeline.data.sources.base import PixelSamples, Source
from pipeline.data.sources.splitting import split_source, stratified_choice
from pipeline.errors import UserError


def source(sizes=(40, 20, 12), test_sizes=(10, 10, 10), colour=True, validation=None) -> Source:
    """Images of 8x8 whose first pixel holds their index."""

    def samples(counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        labels = np.random.default_rng(1).permutation(labels)
        pixels = np.zeros((labels.size, 8, 8, 3), np.uint8)
        pixels[:, 0, 0] = np.arange(labels.size)[:, None]
        pixels[..., 1] += np.uint8(colour)
        return PixelSamples(pixels, labels)

    return Source(
        classes=("a", "b", "c"),
        train=samples(sizes),
        test=samples(test_sizes),
        validation=validation and samples(validation),
        describe=dict,
    )


def indices(split):
    return split.images[:, 0, 0, 0]


@pytest.mark.parametrize("count", [0, 1, 7, 36, 71, 72])
def test_choice_is_stratified_to_within_one_image(count):
    labels = source().train.labels
    chosen = stratified_choice(labels, count, seed=3)
    assert chosen.size == count == np.unique(chosen).size
    assert (np.diff(chosen) > 0).all()
    exact = count * np.array([40, 20, 12]) / 72
    assert (np.abs(np.bincount(labels[chosen], minlength=3) - exact) < 1).all()


def test_choice_depends_on_the_seed_alone():
    labels = source().train.labels
    first, again, other = (stratified_choice(labels, 30, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_validation_is_carved_out_of_train(data):
    train, validation, test = split_source(source(), data(validation=0.25))
    assert np.bincount(train.labels).tolist() == [30, 15, 9]
    assert np.bincount(validation.labels).tolist() == [10, 5, 3]
    assert sorted([*indices(train), *indices(validation)]) == list(range(72))
    assert indices(test).tolist() == list(range(30))
    assert train.labels.dtype == np.int64
    for split in (train, validation):
        np.testing.assert_array_equal(split.labels, source().train.labels[indices(split)])


def test_the_split_seed_moves_validation_but_not_test(data):
    first, second = (split_source(source(), data(limit=24, split_seed=seed)) for seed in (0, 1))
    assert not np.array_equal(indices(first[1]), indices(second[1]))
    together = [sorted([*indices(train), *indices(held)]) for train, held, _ in (first, second)]
    assert together[0] == together[1]
    np.testing.assert_array_equal(indices(first[2]), indices(second[2]))


def test_limit_bounds_train_with_validation_and_test(data):
    train, validation, test = split_source(source(), data(limit=24))
    assert len(train.labels) + len(validation.labels) == 24
    assert np.bincount(test.labels).tolist() == [8, 8, 8]
    assert len(split_source(source(), data(limit=30))[2].labels) == 30


def test_a_validation_split_of_the_source_is_taken_whole(data):
    train, validation, _ = split_source(source(validation=(5, 4, 3)), data())
    assert indices(train).tolist() == list(range(72))
    assert np.bincount(validation.labels).tolist() == [5, 4, 3]
    limited = split_source(source(validation=(5, 4, 3)), data(limit=6))
    assert [len(split.labels) for split in limited] == [6, 6, 6]


def test_a_grey_set_has_one_channel(data):
    assert all(split.images.shape[1] == 1 for split in split_source(source(colour=False), data()))
    assert all(split.images.shape[1] == 3 for split in split_source(source(), data()))


@pytest.mark.parametrize(
    ("changes", "split"),
    [
        ({"validation": 0.01}, "validation"),
        ({"validation": 0.99}, "train"),
        ({"limit": 2}, "train"),
    ],
)
def test_a_class_that_is_left_without_images_is_named(data, changes, split):
    with pytest.raises(UserError, match=rf"no image of class [abc] is left in {split}$"):
        split_source(source(), data(**changes))
