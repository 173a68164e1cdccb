"""Options that several commands share."""

import argparse
import re
import reprlib
from collections.abc import Callable
from pathlib import Path

from pipeline.names import NETWORKS
from pipeline.params import LARGEST_SEED


def stage_parser(description: str) -> argparse.ArgumentParser:
    """A parser that shows the stage's docstring and asks for --params."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", type=Path, required=True, help="parameters of the data set")
    return parser


def training_parser(description: str) -> argparse.ArgumentParser:
    """`stage_parser` with what every training reads and writes."""
    parser = stage_parser(description)
    parser.add_argument("--data", type=Path, required=True, help="prepared data")
    parser.add_argument(
        "--network",
        required=True,
        choices=NETWORKS,
        help="imagenet_* are for images of ImageNet's size, torchvision_* too, in full precision "
        "only; the others for images of CIFAR's size",
    )
    parser.add_argument("--seed", type=whole_number(0, LARGEST_SEED), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained network")
    parser.add_argument("--results", type=Path, required=True, help="folder of the curves")
    return parser


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `lowest` to `highest`."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,10}", text) or not lowest <= int(text) <= highest:
            shown = reprlib.repr(text)
            raise argparse.ArgumentTypeError(
                f"{shown} is no whole number from {lowest} to {highest}"
            )
        return int(text)

    return read
