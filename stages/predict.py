"""Name what images show, by an exported network: classes with probabilities.

Prints one line for each image on stdout, as --format says, and one on stderr for each file that is
no image and each folder that holds none or cannot be read; if there was such a one, the exit code
is 1. Folders are searched for images, with all folders in them.
"""

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.images import FORMATS
from pipeline.errors import UserError, one_line, run
from pipeline.inference.engine import BATCH, ExportedNetwork, load_export, softmax
from pipeline.inference.preparation import read_pixels

SHOWN = 3
"""Classes in a line of text; the other formats have all."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the export")
    parser.add_argument(
        "--format",
        choices=("text", "csv", "json"),
        default="text",
        help="text: the three likeliest classes; csv, json (an object a line): all of them",
    )
    parser.add_argument("images", type=Path, nargs="+", help="files or folders")
    arguments = parser.parse_args()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="surrogateescape")  # names of files need not be UTF-8
    network = load_export(arguments.model)
    classes = network.manifest.classes
    if arguments.format == "csv":
        _print_csv(["image", "class", *classes])
    bad: list[Path] = []
    for path, probabilities in _predictions(network, _files(arguments.images, bad), bad):
        best = classes[probabilities.argmax()]
        if arguments.format == "csv":
            _print_csv([path, best, *(f"{share:.6f}" for share in probabilities)])
        elif arguments.format == "json":
            shares = {
                name: round(float(share), 6)
                for name, share in zip(classes, probabilities, strict=True)
            }
            answer = {"image": str(path), "class": best, "probabilities": shares}
            print(json.dumps(answer, ensure_ascii=False))
        else:
            order = np.argsort(-probabilities, kind="stable")[:SHOWN]
            likeliest = [f"{classes[index]} {probabilities[index]:.2%}" for index in order]
            print(one_line(f"{path}: {', '.join(likeliest)}"))
    if bad:
        sys.exit(1)


def _files(paths: Iterable[Path], bad: list[Path]) -> Iterator[Path]:
    """The files named, and those of the folders named whose suffix is that of an image."""
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises where a name is too long
            yield path
        elif found := _images_in(path, bad):
            yield from found
        elif path not in bad:
            _tell(f"{path}: holds no image", path, bad)


def _images_in(folder: Path, bad: list[Path]) -> list[Path]:
    """Its images, and those of all folders in it; `bad` gets the folders that cannot be read."""

    def tell(error: OSError) -> None:
        path = Path(error.filename)
        _tell(f"{path}: could not be read: {error.strerror}", path, bad)

    known = Image.registered_extensions().items()
    suffixes = {suffix for suffix, name in known if name in FORMATS}
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=tell)
        for name in names
        if Path(name).suffix.lower() in suffixes
    )


def _predictions(
    network: ExportedNetwork, files: Iterator[Path], bad: list[Path]
) -> Iterator[tuple[Path, np.ndarray]]:
    """Each image with its probabilities; `bad` gets the files that are none."""
    while chunk := list(islice(files, BATCH)):
        images: list[tuple[Path, np.ndarray]] = []
        for path in chunk:
            try:
                images.append((path, read_pixels(path, network.manifest)))
            except UserError as error:
                _tell(str(error), path, bad)
        if images:
            read, pixels = zip(*images, strict=True)
            yield from zip(read, softmax(network.logits(np.stack(pixels))), strict=True)


def _tell(reason: str, path: Path, bad: list[Path]) -> None:
    print(one_line(f"error: {reason}"), file=sys.stderr)
    bad.append(path)


def _print_csv(cells: Sequence[object]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


if __name__ == "__main__":
    run(main)
