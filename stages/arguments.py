"""Options that several stages share."""

import argparse
from pathlib import Path


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
        help="resnet20, resnet18 or vgg_small for images of CIFAR's size; imagenet_resnet18 or "
        "imagenet_resnet34; in full precision only: torchvision_resnet18 or torchvision_resnet34",
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained network")
    parser.add_argument("--results", type=Path, required=True, help="folder of the curves")
    return parser
