"""The table of sources; a new one also needs its name in `pipeline.params.Data`."""

from collections.abc import Callable
from pathlib import Path

from pipeline.data.sources import cifar10, digits, folders, shards
from pipeline.data.sources.base import Source
from pipeline.errors import UserError
from pipeline.params import LARGEST_CLASSES, Data, resolve

SOURCES: dict[str, Callable[[Path], Source]] = {
    "digits": digits.load,
    "cifar10": cifar10.load,
    "folders": folders.load,
    "shards": shards.load,
}


def load_source(data: Data) -> Source:
    """Load the source that `data` names, listed and checked but not decoded.

    Raises:
        UserError: the location cannot be resolved or read, is not such a data set (see each
            source), or has fewer than two classes or more than LARGEST_CLASSES.
    """
    try:
        source = SOURCES[data.source](resolve(data.location))
    except OSError as error:
        raise UserError(f"{error.filename}: could not be read: {error.strerror}") from error
    if len(source.classes) < 2:
        raise UserError(
            f"data.location is {data.location!r}: holds one class ({source.classes[0]}), "
            "at least two are needed"
        )
    if len(source.classes) > LARGEST_CLASSES:
        raise UserError(
            f"data.location is {data.location!r}: holds {len(source.classes)} classes, at most "
            f"{LARGEST_CLASSES} are allowed"
        )
    return source
