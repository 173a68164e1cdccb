"""Recompute what the shipped exports get right and compare it with what is committed.

For each EXPORTS/<table>/<run>, the test images are read again from their source, and OpenVINO runs
the network. Its outcome for every image is compared with RESULTS/<table>/outcomes, and its top-1
with RESULTS/<table>/<run>.json. Nothing is trained or downloaded. A line is printed for each
export, and the exit code is 1 if one of them failed or if there was nothing to check.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pipeline.artifacts import read_json
from pipeline.data.sources import cifar10
from pipeline.data.sources.registry import load_source
from pipeline.data.sources.splitting import choose
from pipeline.errors import UserError, first_problem, one_line, run
from pipeline.evaluation.outcomes import read_outcomes
from pipeline.inference.engine import load_export
from pipeline.inference.manifest import MANIFEST, Manifest
from pipeline.params import Data, resolve

NAMED = 5
"""Most images with a different outcome that a message names."""


class NotHereError(Exception):
    """The test images are not on this machine."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--exports", type=Path, default=Path("exports"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    checked = failed = 0
    for folder in sorted(arguments.exports.glob("*/*/")):
        name = f"{folder.parent.name}/{folder.name}"
        try:
            _tell(f"{name}: {_check(folder, arguments.results / folder.parent.name)}")
            checked += 1
        except NotHereError as reason:
            _tell(f"{name}: not checked: {reason}")
        except UserError as error:
            _tell(f"{name}: FAILED: {error}")
            failed += 1
    if failed:
        raise UserError(f"{failed} of {checked + failed} exports differ from what is committed")
    if not checked:
        raise UserError(f"{arguments.exports}: holds no export whose test images are here")


def _tell(line: str) -> None:
    print(one_line(line), flush=True)


def _check(folder: Path, results: Path) -> str:
    """Check one export and say in words what was found.

    Raises:
        UserError: a file is missing or damaged, or an outcome or a figure differs.
        NotHereError: there are no test images to compute with.
    """
    network = load_export(folder)
    manifest = network.manifest
    if manifest.name != folder.name:
        raise UserError(f"{folder / MANIFEST}: is that of {manifest.name}")
    pixels, labels = _test_images(_data(manifest), manifest.channels)
    correct = network.logits(pixels).argmax(1) == labels
    committed = results / "outcomes" / f"{folder.name}.safetensors"
    stated = read_outcomes(committed)
    if len(stated) != len(correct):
        raise UserError(f"{committed}: has {len(stated)} images, there are {len(correct)}")
    other = np.flatnonzero(stated != correct)
    if other.size:
        named = ", ".join(map(str, other[:NAMED])) + (" ..." if other.size > NAMED else "")
        raise UserError(
            f"{committed}: differs from what the export computes in {other.size} of "
            f"{len(correct)} images ({named})"
        )
    figures = results / f"{folder.name}.json"
    content = read_json(figures)
    top1 = content.get("top1") if isinstance(content, dict) else None
    if top1 != correct.mean():
        raise UserError(f"{figures}: top1 is {top1}, the export has {correct.mean()}")
    return f"top-1 {correct.mean():.4f}, {correct.sum()} of {correct.size} images, as committed"


def _data(manifest: Manifest) -> str:
    """The section `data` of the params as JSON, if its images can be read again here.

    Raises:
        UserError: the section is malformed.
        NotHereError: the images are not here, or they are streamed.
    """
    try:
        data = Data.model_validate(manifest.data)
    except ValidationError as error:
        raise UserError(f"{MANIFEST}: data.{first_problem(error)}") from error
    if manifest.resize is not None:
        raise NotHereError("its images are streamed; the stage evaluate judges it")
    if data.source == "cifar10":  # would be downloaded
        location = resolve(data.location)
        folder = cifar10.DEFAULT_FOLDER if location == Path() else location
        if not folder.is_dir():
            raise NotHereError(f"CIFAR-10 is not in {folder}")
    return json.dumps(manifest.data)


@functools.cache
def _test_images(data: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The test split as prepare writes it: images uint8 (N, C, H, W) and labels int64 (N,)."""
    section = Data.model_validate_json(data)
    try:
        source = load_source(section)
    except UserError as error:
        raise NotHereError(str(error)) from error
    samples, indices = choose(source, section)["test"]
    return samples.decode(indices, section.image_size)[:, :channels], samples.labels[indices]


if __name__ == "__main__":
    run(main)
