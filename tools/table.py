"""Set up a table for images of your own: the files of tables/NAME.

Every row is trained with one seed. The network is ResNet-20, and small images are kept in memory.
With --stream it is ResNet-18 for images of ImageNet's size, which are decoded anew in each epoch.

reads   the images, as class folders (train/<class>/ with val/<class>/ or test/<class>/) or as
        Parquet shards (train-*.parquet with test-*.parquet or validation-*.parquet)
writes  tables/NAME/dvc.yaml (a link), cells.yaml and params.yaml
"""

import argparse
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from ruamel.yaml import YAML

from pipeline.data.sources.base import Samples, Source
from pipeline.data.sources.registry import load_source
from pipeline.errors import UserError, one_line, run
from pipeline.names import BINARY_ROWS
from pipeline.params import Data, load_params
from tools.use import use

ROOT = Path(__file__).resolve().parents[1]
NAME = r"[a-z0-9][a-z0-9_-]{0,39}"
SMALL, LARGE, CROP = 32, 64, 224
"""Side of the images in pixels: in memory; in memory, if they are larger; and streamed."""
LARGER = 64
"""Median of the shorter sides above which images are kept at LARGE pixels."""
SAMPLE = 64
FEWEST = 10
"""Least number of training images of a class from which a tenth can be held out."""


def main() -> None:
    """Entry point of `make table`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="lower-case letters, digits, - and _")
    parser.add_argument("images", help="folder of the images")
    parser.add_argument("--stream", action="store_true", help="leave the images where they are")
    arguments = parser.parse_args()
    folder = table_folder(arguments.name)
    if not arguments.images:
        raise UserError("IMAGES is missing: name the folder of the images")
    data, source = look(Path(arguments.images))
    template = "imagenette" if arguments.stream else "cifar10"
    side = CROP if arguments.stream else side_of(source.train)
    write_table(folder, template, data.model_dump() | {"image_size": side})
    for line in summary(folder, source):
        print(one_line(line))


def table_folder(name: str) -> Path:
    """Folder for a new table, which is not there yet.

    Raises:
        UserError: the name is not allowed, or it is taken.
    """
    if not re.fullmatch(NAME, name):
        raise UserError(
            f"NAME is {name!r}: allowed are up to 40 lower-case letters, digits, - and _, "
            "beginning with a letter or digit"
        )
    taken = [place / name for place in (Path("tables"), Path("results"), Path("data"))]
    for path in taken:
        if os.path.lexists(ROOT / path):
            raise UserError(f"NAME is {name!r}: {path} is there already; choose another name")
    return ROOT / "tables" / name


def look(images: Path) -> tuple[Data, Source]:
    """Find out which source reads the folder, and list its images.

    Returns:
        The section `data` of the params, and the images. A folder inside this repository is named
        by its relative path, which other clones can use too.

    Raises:
        UserError: no source reads it; the message says what was found.
    """
    if not os.path.isdir(images):  # noqa: PTH112 -- Path's fails where a name is too long
        raise UserError(f"IMAGES is {str(images)!r}: no such folder")
    folder = images.resolve()
    kind = "shards" if any(folder.glob("*.parquet")) else "folders"
    try:
        data = Data(
            source="shards" if kind == "shards" else "folders",
            location=str(folder),
            image_size=SMALL,
            validation=0.1,
            split_seed=0,
            limit=0,
        )
    except ValidationError as error:
        raise UserError(f"IMAGES is {str(folder)!r}: {error.errors()[0]['msg']}") from None
    if "$" in data.location:
        raise UserError(f"IMAGES is {data.location!r}: a path with $ cannot be kept in params.yaml")
    try:
        source = load_source(data)
    except UserError as error:
        if not os.access(folder, os.R_OK):
            raise
        found = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "") or "nothing"
        wanted = "train/<class>/ with val/<class>/ or test/<class>/, or Parquet shards"
        raise UserError(f"{error}; wanted {wanted}, found {shown}") from None
    if folder.is_relative_to(ROOT):
        data = data.model_copy(update={"location": str(folder.relative_to(ROOT))})
    return data, source


def side_of(samples: Samples) -> int:
    """Side in pixels at which images are kept in memory, by the median of some shorter sides."""
    count = min(SAMPLE, len(samples.labels))
    chosen = np.linspace(0, len(samples.labels) - 1, count).astype(int)
    sides = [min(image.size) for _, image in samples.load(chosen)]
    return LARGE if np.median(sides) > LARGER else SMALL


def write_table(folder: Path, template: str, data: Mapping[str, Any]) -> None:
    """Write the three files of a table, with those of `template` as the pattern.

    Raises:
        UserError: a file cannot be written, or the params do not fit together. Then no file is
            left behind.
    """
    yaml = YAML()
    pattern = ROOT / "tables" / template
    params, cells = (yaml.load(pattern / name) for name in ("params.yaml", "cells.yaml"))
    table = f"tables/{folder.name}"
    cells |= {
        "table": folder.name,
        "settings": f"{table}/params.yaml",
        "images": f"{table}/images.json",
        "seeds": [1],
        "ablation_seeds": [1],
    }
    params["data"].update(data)
    params["compute"].update(precision="auto", compile="auto", channels_last="auto")
    if "streaming" in params:
        params["streaming"].update(resize=256)
    for content, what in ((cells, "The runs"), (params, "Every parameter")):
        content.yaml_set_start_comment(f"{what} of the table {folder.name}, made by make table.")
    try:
        folder.mkdir()
    except OSError as error:
        raise UserError(f"{table}: could not be written: {error.strerror}") from error
    try:
        yaml.dump(cells, folder / "cells.yaml")
        yaml.dump(params, folder / "params.yaml")
        (folder / "dvc.yaml").symlink_to((pattern / "dvc.yaml").readlink())
        use(folder.name, ROOT)
        load_params(folder / "params.yaml")
    except BaseException:
        shutil.rmtree(folder)
        raise


def summary(folder: Path, source: Source) -> list[str]:
    """Lines that tell what was found, what there is to do, and what to do next."""
    name, params = folder.name, load_params(folder / "params.yaml")
    side, streamed = params.data.image_size, params.streaming is not None
    counts = np.bincount(source.train.labels)
    trained, held_out = len(source.train.labels), len(source.test.labels)
    students = ("step_one", "step_two") if streamed else ("student",)
    phases = ["teacher", "finetune", "finetune", *students * len(BINARY_ROWS)]
    schedules = params.model_dump()
    seen = sum(schedules[phase]["epochs"] for phase in phases) * trained
    lines = [
        f"{trained:,} images to train and {held_out:,} to test, {len(source.classes)} classes, "
        f"{side} x {side} pixels",
        f"tables/{name}: {len(phases)} trainings, which read {seen:,} images in all, with the "
        "epochs of params.yaml",
    ]
    if counts.min() < FEWEST:
        rarest = source.classes[counts.argmin()]
        lines.append(f"class {rarest} has {counts.min()} images to train: see data.validation")
    first = "torchvision_resnet18" if streamed else "resnet20"
    lines += [
        f"measure  dvc repro tables/{name}/dvc.yaml:teacher@{first}-1, which prints images/s",
        f"run      make run TABLE={name}",
        f"report   reports/{name}/report.html",
    ]
    return lines


if __name__ == "__main__":
    run(main)
