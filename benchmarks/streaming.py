"""How fast streamed images are decoded and cropped, and what memory an epoch takes.

For each number of workers, one epoch of training batches is timed: decoding, random resized crop,
flip, and normalization on the device, without a network. Measured are the seconds until the first
batch, the images per second from then on, the images per second of CPU time of all processes (what
one core does), and the memory of all processes along the epoch, as Linux reports it.

reads   DATA, the index that the stage prepare wrote with the section `streaming`, and its images
writes  OUT, one JSON file, with hardware and versions; without --out nothing
"""

import argparse
import json
import multiprocessing
import os
import re
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import joblib
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from pipeline.artifacts import write_json
from pipeline.data.loading.dataset import open_prepared
from pipeline.data.prepared import StreamedManifest
from pipeline.device import configure, select_device
from pipeline.distributed import World
from pipeline.errors import UserError, run
from pipeline.params import Augmentation, Compute, load_params
from pipeline.provenance import ROOT, provenance
from stages.arguments import whole_number

SAMPLES = 10
"""About how often memory is read along an epoch."""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared index")
    parser.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="its `compute`")
    parser.add_argument("--workers", type=whole_number(0, 99_999), nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--batch-size", type=whole_number(1, 99_999), default=128, help="default: %(default)s"
    )
    parser.add_argument("--batches", type=whole_number(1, 99_999), help="of an epoch; default: all")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    arguments = parser.parse_args()
    compute = load_params(arguments.params).compute
    manifest = open_prepared(arguments.data).manifest
    if not isinstance(manifest, StreamedManifest):
        raise UserError(f"--data {arguments.data}: is no index, its images are not streamed")
    workers = {
        str(count): measure_alone(
            arguments.data, count, arguments.batch_size, arguments.batches, compute
        )
        for count in arguments.workers
    }
    result = {
        # after the measurements: a process that has used CUDA cannot fork others that do
        "hardware": provenance(configure(compute, select_device(), binary=False)),
        "cpus": joblib.cpu_count(),
        "settings": {
            "source": manifest.source,
            "images": sum(manifest.counts["train"]),
            "image_size": manifest.image_size,
            "decoder": manifest.streaming.decoder,
            "mean_bytes": mean_bytes(arguments.data),
            "batch_size": arguments.batch_size,
            "batches": arguments.batches,
        },
        "workers": workers,
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        write_json(arguments.out, result)


def mean_bytes(folder: Path) -> int:
    """Mean size of an encoded training image, in bytes."""
    sizes = pq.read_table(folder / "train.parquet", columns=["size"])["size"]
    return round(pc.mean(sizes).as_py())


def measure_alone(*arguments: Any) -> dict[str, Any]:
    """Run `measure` in a process of its own, whose memory nothing has used before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as process:
        return process.submit(measure, *arguments).result()


def measure(
    data: Path, workers: int, batch_size: int, batches: int | None, compute: Compute
) -> dict[str, Any]:
    """Time one epoch with `workers` workers, and read its memory."""
    execution = configure(compute, select_device(), binary=False)
    images = open_prepared(data)
    os.environ["BDBNN_WORKERS"] = str(workers)
    training = images.batches(
        "train",
        batch_size=batch_size,
        augmentation=Augmentation(crop_padding=0, horizontal_flip=True),
        seed=0,
        execution=execution,
        world=World(rank=0, size=1),
    )
    sizes = list(islice(training.sizes(), batches))
    every = max(1, len(sizes) // SAMPLES)
    memory = []
    cpu, start, first = _cpu_seconds(), time.perf_counter(), 0.0
    for number, _ in enumerate(islice(training.batches(0), len(sizes))):
        if number == 0:
            first = time.perf_counter() - start
        if (number + 1) % every == 0:
            memory.append(_mebibytes())
    if execution.device.type == "cuda":
        torch.cuda.synchronize(execution.device)
    seconds = time.perf_counter() - start
    return {
        "seconds_to_first_batch": round(first, 2),
        "images_per_second": round(sum(sizes[1:]) / (seconds - first)),
        "images_per_cpu_second": round(sum(sizes) / (_cpu_seconds() - cpu)),
        "mebibytes": memory,
    }


def _cpu_seconds() -> float:
    """CPU time of this process and of its workers that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _mebibytes() -> int:
    """MiB of this process and its workers: shared memory counts once, and files do not count."""
    pids = (os.getpid(), *(child.pid for child in multiprocessing.active_children()))
    text = "".join(Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return round(sum(map(int, re.findall(r"Pss_(?:Anon|Shmem): +(\d+) kB", text))) / 2**10)


if __name__ == "__main__":
    run(main)
