"""Classify images with an exported network: classes with probabilities.

It prints a line on stdout for each image, as --format says, and a line on stderr for each file that
is not an image and for each folder that holds none or cannot be read; if there was any such file or
folder, the exit code is 1. Folders are searched for images at any depth.
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

from pipeline.data.descent import why_not
from pipeline.data.images import has_image_suffix
from pipeline.errors import UserError, one_line, run
from pipeline.inference.engine import BATCH, ExportedNetwork, load_export, softmax
from pipeline.inference.preparation import read_pixels

SHOWN = 3
"""Number of classes in a line of text; the other formats give all of them."""


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
    if not isinstance(sys.stdout, io.TextIOWrapper):
        raise UserError("stdout: is closed")
    # whatever the terminal's, so that every name can be written; it need not be UTF-8 itself
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
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
    """Yield the named files, and the files in the named folders that have an image's suffix."""
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 -- Path's fails where a name is too long
            told = len(bad)
            found = list(_images(path, bad))
            if not found and len(bad) == told:
                _tell(f"{path}: holds no image", path, bad)
            yield from found
        else:
            yield path


def _images(folder: Path, bad: list[Path], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the images below a folder that was reached through the folders `above`."""
    target = folder.resolve()
    if problem := why_not(target, above):
        _tell(f"{folder}: {problem}", folder, bad)
        return
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        _tell(f"{folder}: could not be read: {error.strerror}", folder, bad)
        return
    for path in found:
        if path.is_dir():
            yield from _images(path, bad, (*above, target))
        elif has_image_suffix(path.name):
            yield path
        elif path.is_symlink() and not path.exists():
            _tell(f"{path}: is a symbolic link that leads nowhere", path, bad)


def _predictions(
    network: ExportedNetwork, files: Iterator[Path], bad: list[Path]
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield each image with its probabilities, and add files that are not images to `bad`."""
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
