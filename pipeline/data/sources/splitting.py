"""Stratified choices, and the three splits of a prepared data set."""

import numpy as np

from pipeline.data.prepared import Split, SplitName
from pipeline.data.sources.base import Samples, Source
from pipeline.errors import UserError
from pipeline.params import Data

LIMIT_SEED = 0
"""Seed of data.limit, fixed so that data.split_seed never changes which images test holds."""


def stratified_choice(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Choose `count` of N samples at random, each class in proportion to its size.

    Shares are rounded by largest remainders; ties go to the lower label.

    Returns:
        Sorted int64 indices of shape (count,).
    """
    classes, sizes = np.unique(labels, return_counts=True)
    quotas, remainders = np.divmod(sizes * count, labels.size)
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def choose(source: Source, data: Data) -> dict[SplitName, tuple[Samples, np.ndarray]]:
    """Choose the images of the source that make up the train, validation and test split.

    data.limit bounds train (before validation is carved out of it), test, and validation where the
    source brings its own.

    Returns:
        For each split, samples of the source and int64 indices into them.

    Raises:
        UserError: a class is left without an image in a split.
    """
    train = _limited(source.train, data.limit)
    if source.validation:
        held_out, validation = source.validation, _limited(source.validation, data.limit)
    else:
        labels = source.train.labels[train]
        carved = stratified_choice(labels, round(data.validation * labels.size), data.split_seed)
        held_out, validation, train = source.train, train[carved], np.delete(train, carved)
    test = _limited(source.test, data.limit)
    parts: dict[SplitName, tuple[Samples, np.ndarray]] = {
        "train": (source.train, train),
        "validation": (held_out, validation),
        "test": (source.test, test),
    }
    for name, (samples, indices) in parts.items():
        absent = np.setdiff1d(np.arange(len(source.classes)), samples.labels[indices])
        if absent.size:
            raise UserError(
                f"data.limit is {data.limit} and data.validation {data.validation}: "
                f"no image of class {source.classes[absent[0]]} is left in {name}"
            )
    return parts


def split_source(source: Source, data: Data) -> tuple[Split, Split, Split]:
    """Decode the train, validation and test split of a source, as `choose` divides it.

    If all images are grey, they get one channel; otherwise all have three.

    Raises:
        UserError: a class is left without an image in a split, or an image cannot be decoded.
    """
    parts = choose(source, data)
    images = [samples.decode(chosen, data.image_size) for samples, chosen in parts.values()]
    channels = 1 if all(_is_grey(each) for each in images) else 3
    labelled = zip(images, parts.values(), strict=True)
    first, second, third = (
        Split(each[:, :channels], samples.labels[chosen]) for each, (samples, chosen) in labelled
    )
    return first, second, third


def _limited(samples: Samples, limit: int) -> np.ndarray:
    if limit == 0 or limit >= samples.labels.size:
        return np.arange(samples.labels.size)
    return stratified_choice(samples.labels, limit, LIMIT_SEED)


def _is_grey(images: np.ndarray) -> bool:
    return all(np.array_equal(images[:, 0], images[:, channel]) for channel in (1, 2))
