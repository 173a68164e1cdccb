"""Our batches against per-image transforms, without a network."""

import itertools
from collections import deque
from typing import Any

from benchmarks.paired import Contender, interleave, rate, ratio
from benchmarks.usual_loop import WORKERS, endless
from benchmarks.workload import Workload


def measure(workload: Workload, rounds: int, batches: int) -> dict[str, Any]:
    """Images/s of our batches, and of `batches` batches of PIL images made here and in workers."""
    ours = workload.our_batches()
    epochs = itertools.count()
    size = workload.batch_size

    def usual(workers: int) -> Contender:
        loader = endless(workload.usual_batches(workers))
        return Contender(lambda: deque(itertools.islice(loader, batches), maxlen=0), batches * size)

    contenders = {
        "ours": Contender(lambda: deque(ours.batches(next(epochs)), maxlen=0), sum(ours.sizes())),
        "usual": usual(workers=0),
        f"usual, {WORKERS} workers": usual(workers=WORKERS),
    }
    samples = interleave(contenders, rounds, workload.execution.device)
    return {
        "images": {name: rate(each) for name, each in samples.items()},
        "ratio": {
            name: ratio(samples[name], samples["ours"]) for name in samples if name != "ours"
        },
    }
