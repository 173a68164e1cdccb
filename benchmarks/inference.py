"""Time and size of exported binary networks, beside their full-precision twins.

The twins run in the same engine and in torch. Weights are random, as no figure depends on them. All
contenders of a network take turns in one process, with batches of 1 and of 32 images, and each of
them normalizes its pixels.

writes  OUT: milliseconds of a batch and images/s with their spread over the rounds, how many times
        faster the binary network is in the same round, and bytes of the exported files, with
        hardware, versions and date; without --out nothing
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import torch
from torch import nn

from benchmarks.paired import Contender, Samples, Spread, interleave, ratio, spread
from pipeline.artifacts import write_json
from pipeline.device import configure
from pipeline.errors import UserError, run
from pipeline.evaluation.cost import REAL_BITS, storage_bits
from pipeline.inference.engine import compile_options, xnor_convolutions
from pipeline.inference.graph import Translated, translate
from pipeline.inference.manifest import MODEL, WEIGHTS
from pipeline.models.architecture import Architecture, design
from pipeline.models.registry import build
from pipeline.params import load_params
from pipeline.provenance import ROOT, provenance
from stages.arguments import whole_number

BATCHES = (1, 32)
NETWORKS = {
    "resnet20": [(1, 16), (3, 32)],
    "resnet18": [(3, 32)],
    "vgg_small": [(3, 32)],
    "imagenet_resnet18": [(3, 224)],
}
"""For each network, channels and side (height and width in pixels) of the images it is given."""
CLASSES = 10
MEAN, STD = 0.5, 0.25
SECONDS_PER_MEASUREMENT = 0.5
CPU = torch.device("cpu")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="*", metavar="network", help="default: all")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml")
    parser.add_argument(
        "--threads", type=whole_number(0, 99_999), default=1, help="default: %(default)s"
    )
    parser.add_argument(
        "--rounds", type=whole_number(1, 99_999), default=7, help="default: %(default)s"
    )
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
    alike = {"threads": arguments.threads, "precision": "float32", "portable": False}
    execution = configure(params.compute.model_copy(update=alike), CPU, binary=False)
    result: dict[str, Any] = {
        "hardware": {**provenance(execution), "openvino": ov.get_version()},
        "date": datetime.now(UTC).date().isoformat(),
        "settings": {"rounds": arguments.rounds, "threads": arguments.threads},
        "networks": [],
    }
    for name in arguments.networks or NETWORKS:
        for channels, size in NETWORKS[name]:
            twins = {
                kind: design(
                    name, form, binarization, classes=CLASSES, channels=channels, image_size=size
                )
                for kind, binarization in (
                    ("binary", params.binarization),
                    ("full precision", None),
                )
            }
            measured = _measure(twins, arguments.rounds, arguments.threads)
            print(json.dumps(measured, indent=2), flush=True)
            result["networks"].append(measured)
    if arguments.out:
        write_json(arguments.out, result)


def _measure(twins: dict[str, Architecture], rounds: int, threads: int) -> dict[str, Any]:
    networks = {kind: _network(architecture) for kind, architecture in twins.items()}
    binary = twins["binary"]
    shape = (binary.channels, binary.image_size, binary.image_size)
    mean, std = (MEAN,) * binary.channels, (STD,) * binary.channels
    exports = {kind: translate(network, shape, mean, std) for kind, network in networks.items()}
    return {
        "network": binary.network,
        "channels": binary.channels,
        "image_size": binary.image_size,
        "sizes": {kind: _sizes(networks[kind], each) for kind, each in exports.items()},
        "batches": {
            str(batch): _times_at(
                batch, shape, exports, networks["full precision"], rounds, threads
            )
            for batch in BATCHES
        },
    }


def _network(architecture: Architecture) -> nn.Module:
    """A network whose batch norms differ by channel, as after training, and share no constants."""
    network = build(architecture).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            for values in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(values)
    return network


def _sizes(network: nn.Module, translated: Translated) -> dict[str, int]:
    """Bytes of the two files of an export, weights and graph, and bits counted for the weights."""
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder) / MODEL, Path(folder) / WEIGHTS
        ov.serialize(translated.model, graph, weights)
        return {
            "weights_bytes": weights.stat().st_size,
            "graph_bytes": graph.stat().st_size,
            "counted_bits": storage_bits(network) - REAL_BITS * translated.folded_scales,
        }


def _times_at(
    batch: int,
    shape: tuple[int, int, int],
    exports: dict[str, Translated],
    real: nn.Module,
    rounds: int,
    threads: int,
) -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
    runs = {kind: _in_openvino(each, pixels, threads) for kind, each in exports.items()}
    runs["full precision in torch"] = _in_torch(real, pixels)
    contenders = {name: _contender(once) for name, once in runs.items()}
    samples = interleave(contenders, rounds, CPU)
    return {
        "times": {name: _times(each, batch) for name, each in samples.items()},
        "binary is faster": {
            name: ratio(each, samples["binary"])
            for name, each in samples.items()
            if name != "binary"
        },
    }


def _in_openvino(translated: Translated, pixels: np.ndarray, threads: int) -> Callable[[], object]:
    """A function that runs a batch through the exported form.

    Raises:
        UserError: a binary convolution is not computed by XNOR and popcount here.
    """
    translated.model.reshape(list(pixels.shape))
    compiled = ov.Core().compile_model(translated.model, "CPU", compile_options(threads))
    found = xnor_convolutions(compiled)
    if found != translated.binary_convolutions:
        raise UserError(
            f"{found} of {translated.binary_convolutions} binary convolutions run by XNOR and "
            "popcount on this processor"
        )
    request = compiled.create_infer_request()
    return lambda: request.infer([pixels])


def _in_torch(network: nn.Module, pixels: np.ndarray) -> Callable[[], object]:
    images = torch.from_numpy(pixels)

    def once() -> torch.Tensor:
        with torch.inference_mode():
            return network((images / 255 - MEAN) / STD)

    return once


def _contender(once: Callable[[], object]) -> Contender:
    """A contender of as many calls as take `SECONDS_PER_MEASUREMENT`; its unit is a call."""
    once()
    trial = interleave({"": Contender(once, 1)}, 1, CPU)[""][0].seconds
    calls = max(1, round(SECONDS_PER_MEASUREMENT / trial))
    return Contender(lambda: [once() for _ in range(calls)], calls)


def _times(samples: Samples, batch: int) -> dict[str, Spread]:
    return {
        "milliseconds": spread([1e3 * sample.seconds for sample in samples]),
        "cpu_milliseconds": spread([1e3 * sample.cpu_seconds for sample in samples]),
        "images_per_second": spread([batch / sample.seconds for sample in samples]),
    }


if __name__ == "__main__":
    run(main)
