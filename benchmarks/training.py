"""Compare the trainer with the field's usual loop, in turns, in one process.

epoch   images/s of binary ResNet-20, and on a GPU of ResNet-18 too, in the rows complete (all
        losses, with a teacher) and binary (cross-entropy alone). Measured are our trainer; our
        trainer with an optimizer that is not fused, in the other memory format, on a GPU with
        deterministic algorithms, in float32 (as the usual loop), and in float32 without
        torch.compile; the usual loop with our network, and with the field's binary layers; and
        warm-up and peak memory of each of them
terms   kurtosis loss and WDM of ResNet-18 with their gradient, as shares of our training step, also
        in float32
input   images/s of our batches and of per-image transforms, without a network
profile where the time of our step of ResNet-20 and ResNet-18 goes

An epoch is a fixed number of batches, augmented, without validation.

reads   PARAMS: execution, losses, augmentation, student. Images: BDBNN_SHARED/data/cifar10 if it
        is there, else random ones of CIFAR's shape: speed does not depend on what they show
writes  OUT/<part>.json with hardware and versions; without --out nothing
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from benchmarks import epoch, inputs, profile, terms
from benchmarks.workload import Network, Workload, load_images
from pipeline.artifacts import write_json
from pipeline.device import configure, select_device
from pipeline.errors import run
from pipeline.params import load_params
from pipeline.provenance import ROOT, provenance
from stages.arguments import whole_number

PARTS = ("epoch", "terms", "input", "profile")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help="default: all")
    parser.add_argument("--params", type=Path, default=ROOT / "tables/cifar10-full/params.yaml")
    parser.add_argument(
        "--threads", type=whole_number(0, 99_999), default=0, help="of the CPU; default: torch's"
    )
    parser.add_argument(
        "--rounds", type=whole_number(1, 99_999), default=5, help="default: %(default)s"
    )
    parser.add_argument(
        "--batches", type=whole_number(1, 99_999), help="of an epoch; default: 10, on a GPU 200"
    )
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}: allowed are {', '.join(PARTS)}")

    device = select_device()
    params = load_params(arguments.params)
    compute = params.compute.model_copy(update={"threads": arguments.threads})
    params = params.model_copy(update={"compute": compute})
    workload = Workload(params, configure(compute, device, binary=True), load_images())
    batches = arguments.batches or (200 if device.type == "cuda" else 10)
    for part in arguments.parts or PARTS:
        result = {
            "hardware": provenance(workload.execution),
            "settings": {
                "images": workload.images.description,
                "batch_size": workload.batch_size,
                "batches": batches,
                "rounds": arguments.rounds,
            },
            **measure(part, workload, arguments.rounds, batches),
        }
        print(json.dumps(result, indent=2), flush=True)
        if arguments.out:
            write_json(arguments.out / f"{part}.json", result)


def measure(part: str, workload: Workload, rounds: int, batches: int) -> dict[str, Any]:
    """Measure one of PARTS."""
    match part:
        case "epoch":
            on_gpu = workload.execution.device.type == "cuda"
            return {
                network: epoch.measure(workload, network, rounds, batches)
                | {"alone": epoch.measure_alone(workload, network)}
                for network in (("resnet20", "resnet18") if on_gpu else ("resnet20",))
            }
        case "terms":
            measured = terms.measure(workload, rounds)
            if workload.execution.autocast:
                execution = replace(workload.execution, autocast=None)
                single = terms.measure(replace(workload, execution=execution), rounds)
                return measured | {"float32": single}
            return measured
        case "input":
            return inputs.measure(workload, rounds, batches)
    return {network: profile.measure(workload, network) for network in get_args(Network)}


if __name__ == "__main__":
    run(main)
