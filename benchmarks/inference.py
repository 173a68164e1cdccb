"""Time of exported binary networks, beside their full-precision twins in the same engine and torch.

Weights are random: the time does not depend on them. All of a network's contenders are measured in
turns, in one process, with one thread, at batches of 1 and of 32 images; each normalises its
pixels.

writes  OUT: milliseconds of a batch and images/s with their spread over the rounds, how many times
        faster the binary network is in the same round, with hardware and versions; without --out
        nothing
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch

from benchmarks.paired import Contender, Samples, interleave, ratio
from pipeline.artifacts import write_json
from pipeline.device import configure
from pipeline.errors import UserError, run
from pipeline.inference.engine import compile_options, xnor_convolutions
from pipeline.inference.graph import translate
from pipeline.models.architecture import Architecture, design
from pipeline.models.registry import build
from pipeline.params import load_params
from pipeline.provenance import ROOT, provenance

BATCHES = (1, 32)
NETWORKS = {"resnet20": 32, "resnet18": 32, "vgg_small": 32, "imagenet_resnet18": 224}
"""With height and width of the images."""
CLASSES, CHANNELS = 10, 3
MEAN, STD = (0.5,) * CHANNELS, (0.25,) * CHANNELS
SECONDS_PER_MEASUREMENT = 0.5
CPU = torch.device("cpu")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="network", help="default: all")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="file to write")
    arguments = parser.parse_args()
    for name in arguments.networks:
        if name not in NETWORKS:
            parser.error(f"there is no network {name!r}: allowed are {', '.join(NETWORKS)}")
    params = load_params(arguments.params)
    twins_of_one_form = {
        "block": "bireal",
        "full_precision_block": "bireal",
        "full_precision_activation": "hardtanh",
    }
    form = params.network.model_copy(update=twins_of_one_form)
    single = params.compute.model_copy(update={"threads": 1, "precision": "float32"})
    execution = configure(single, CPU, binary=False)
    result: dict[str, Any] = {
        "hardware": {**provenance(execution), "openvino": ov.get_version()},
        "settings": {"rounds": arguments.rounds, "threads": 1},
    }
    for name in arguments.networks or NETWORKS:
        twins = {
            kind: design(
                name,
                form,
                binarization,
                classes=CLASSES,
                channels=CHANNELS,
                image_size=NETWORKS[name],
            )
            for kind, binarization in (("binary", params.binarization), ("full precision", None))
        }
        result[name] = {
            f"batch {batch}": _measure(twins, batch, arguments.rounds) for batch in BATCHES
        }
        print(json.dumps({name: result[name]}, indent=2), flush=True)
    if arguments.out:
        write_json(arguments.out, result)


def _measure(twins: dict[str, Architecture], batch: int, rounds: int) -> dict[str, Any]:
    size = twins["binary"].image_size
    pixels = np.random.default_rng(0).integers(0, 256, (batch, CHANNELS, size, size), np.uint8)
    runs = {name: _in_openvino(architecture, pixels) for name, architecture in twins.items()}
    runs["full precision in torch"] = _in_torch(twins["full precision"], pixels)
    contenders = {name: _contender(once) for name, once in runs.items()}
    samples = interleave(contenders, rounds, CPU)
    return {
        "times": {name: _times(each, batch) for name, each in samples.items()},
        "binary is faster": {
            name: ratio(each, samples["binary"])["wall"]
            for name, each in samples.items()
            if name != "binary"
        },
    }


def _in_openvino(architecture: Architecture, pixels: np.ndarray) -> Callable[[], object]:
    """A batch through the exported form.

    Raises:
        UserError: a binary convolution is not computed by XNOR and popcount here.
    """
    translated = translate(build(architecture).eval(), pixels.shape[1:], MEAN, STD)
    translated.model.reshape(list(pixels.shape))
    compiled = ov.Core().compile_model(translated.model, "CPU", compile_options(threads=1))
    found = xnor_convolutions(compiled)
    if found != translated.binary_convolutions:
        raise UserError(
            f"{architecture.network}: {found} of {translated.binary_convolutions} binary "
            "convolutions run by XNOR and popcount on this processor"
        )
    request = compiled.create_infer_request()
    return lambda: request.infer([pixels])


def _in_torch(architecture: Architecture, pixels: np.ndarray) -> Callable[[], object]:
    network = build(architecture).eval()
    images = torch.from_numpy(pixels)
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))

    def once() -> torch.Tensor:
        with torch.inference_mode():
            return network((images / 255 - mean) / std)

    return once


def _contender(once: Callable[[], object]) -> Contender:
    """As many calls as take `SECONDS_PER_MEASUREMENT`; the unit is a call."""
    once()
    trial = interleave({"": Contender(once, 1)}, 1, CPU)[""][0].seconds
    calls = max(1, round(SECONDS_PER_MEASUREMENT / trial))
    return Contender(lambda: [once() for _ in range(calls)], calls)


def _times(samples: Samples, batch: int) -> dict[str, dict[str, float]]:
    seconds = np.array([sample.seconds for sample in samples])
    return {
        "milliseconds": _spread(1e3 * seconds),
        "images_per_second": _spread(batch / seconds),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    """Median, smallest and largest, to four digits."""
    chosen = {"median": np.median(values), "min": values.min(), "max": values.max()}
    return {name: float(f"{value:.4g}") for name, value in chosen.items()}


if __name__ == "__main__":
    run(main)
