"""Parquet shards in the layout of Hugging Face image sets.

These are `train-*.parquet` with `test-*.parquet` or `validation-*.parquet`. Where only one of the
last two exists, it is the test set; where both exist, `validation` is the validation split, taken
whole. Test shards without labels (all -1, as ImageNet's) do not count.

An image column (`img` or `image`) holds structs of `bytes` and `path`, and a label column (`label`,
`labels` or `fine_label`) holds integers. Class names come from the features that the `datasets`
package writes into the schema; without them, classes are called by their numbers.
"""

import re
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ValidationError

from pipeline.artifacts import sha256
from pipeline.data.encoded import IMAGE_COLUMNS, Encoded, image_column, known_column, open_shard
from pipeline.data.sources.base import EncodedSamples, Source, check_unicode, existing_folder
from pipeline.errors import UserError, first_problem

LABEL_COLUMNS = ("label", "labels", "fine_label")


def load(location: Path) -> Source:
    """Load the shards in the folder `location`, with rows in the order of the sorted file names.

    Raises:
        UserError: a shard is missing, truncated, without the columns, or has labels out of range;
            two shards disagree on the classes or have one number; or a class has no image in one
            of the splits.
    """
    folder = existing_folder(location)
    splits = {
        name: [_Shard(path) for path in _files(folder, name)]
        for name in ("train", "validation", "test")
    }
    if all((shard.labels == -1).all() for shard in splits["test"]):
        splits["test"] = []
    splits = {name: shards for name, shards in splits.items() if shards}
    held_out = [name for name in ("validation", "test") if name in splits]
    if "train" not in splits or not held_out:
        raise UserError(
            f"{folder}: needs train-*.parquet and labelled test-*.parquet or validation-*.parquet"
        )
    classes = _classes(splits)
    samples = {name: _samples(folder, shards, classes) for name, shards in splits.items()}
    for name, split in samples.items():
        absent = np.setdiff1d(np.arange(len(classes)), split.labels)
        if absent.size:
            raise UserError(f"{folder}: class {classes[absent[0]]} has no image in {name}")
    return Source(
        classes=classes,
        train=samples["train"],
        test=samples[held_out[-1]],
        validation=samples["validation"] if len(held_out) == 2 else None,
        describe=lambda: {
            "files": {
                shard.path.name: sha256(shard.path)
                for shards in splits.values()
                for shard in shards
            }
        },
    )


def _files(folder: Path, split: str) -> list[Path]:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    numbers: dict[int, Path] = {}
    for path in files:
        check_unicode(folder, path.name)
        numbered = re.fullmatch(rf"{split}-(\d+)-of-(\d+)\.parquet", path.name)
        if not numbered:
            continue
        number, count = map(int, numbered.groups())
        if count != len(files):
            raise UserError(f"{path}: is one of {count} shards, found {len(files)}")
        if number >= count:
            raise UserError(f"{path}: shards of {count} are numbered 0 to {count - 1}")
        if number in numbers:
            raise UserError(f"{path}: has the number of {numbers[number].name}")
        numbers[number] = path
    return files


class _Shard:
    """The labels of one Parquet file, and its class names if it has them; no image is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_shard(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            for names in (LABEL_COLUMNS, IMAGE_COLUMNS):
                found = [name for name in names if name in schema.names]
                if len(found) > 1:
                    raise UserError(f"{path}: has the columns {' and '.join(found)}, needs one")
            label = known_column(path, schema, LABEL_COLUMNS)
            image_column(path, schema)
            kind = schema.field(label).type
            if not pa.types.is_integer(kind):
                raise UserError(f"{path}: column {label} is {kind}, not integers")
            labels = file.read(columns=[label])[label]
        if not len(labels):
            raise UserError(f"{path}: has no rows")
        if labels.null_count:
            raise UserError(f"{path}: {labels.null_count} rows have no {label}")
        self.labels = labels.to_numpy().astype(np.int64)
        groups = range(metadata.num_row_groups)
        self.groups = np.repeat(groups, [metadata.row_group(each).num_rows for each in groups])
        self.class_names = _class_names(path, schema, label)


class _Feature(BaseModel):
    names: tuple[str, ...] | None = None


class _Info(BaseModel):
    features: dict[str, Any] = {}


class _Metadata(BaseModel):
    """What the `datasets` package writes into a schema, as far as it is used here."""

    info: _Info = _Info()


def _class_names(path: Path, schema: pa.Schema, label: str) -> tuple[str, ...]:
    """Names of the classes from the schema of a shard; empty if it has none."""
    content = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = _Metadata.model_validate_json(content).info.features
        names = _Feature.model_validate(features.get(label, {})).names or ()
    except ValidationError as error:
        raise UserError(
            f"{path}: its metadata 'huggingface' is not what the package datasets writes "
            f"({first_problem(error)})"
        ) from error
    if not all(name.strip() for name in names):
        raise UserError(f"{path}: its metadata 'huggingface' has a class without a name")
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{path}: its metadata 'huggingface' names {count} classes {name!r}")
    return names


def _classes(splits: dict[str, list[_Shard]]) -> tuple[str, ...]:
    """Names of the classes, on which all shards that name them must agree."""
    named = [each for shards in splits.values() for each in shards if each.class_names]
    for shard in named:
        if shard.class_names != named[0].class_names:
            pairs = zip_longest(shard.class_names, named[0].class_names)
            label, (here, there) = next(
                (i, each) for i, each in enumerate(pairs) if len({*each}) > 1
            )
            raise UserError(
                f"{shard.path}: calls class {label} {here!r}, and {named[0].path.name} calls it "
                f"{there!r}"
            )
    if named:
        return named[0].class_names
    labels = np.unique(np.concatenate([shard.labels for shard in splits["train"]]))
    return tuple(str(number) for number in range(labels.size))


def _samples(folder: Path, shards: list[_Shard], classes: tuple[str, ...]) -> EncodedSamples:
    for shard in shards:
        wrong = np.flatnonzero((shard.labels < 0) | (shard.labels >= len(classes)))
        if wrong.size:
            raise UserError(
                f"{shard.path}: row {wrong[0]} has label {shard.labels[wrong[0]]}, "
                f"allowed are 0 to {len(classes) - 1}"
            )
    encoded = Encoded(
        root=folder,
        paths=pa.array(
            np.repeat([shard.path.name for shard in shards], [len(each.labels) for each in shards])
        ),
        rows=np.concatenate([np.arange(shard.labels.size) for shard in shards]),
        groups=np.concatenate([shard.groups for shard in shards]),
    )
    return EncodedSamples(encoded, np.concatenate([shard.labels for shard in shards]))
