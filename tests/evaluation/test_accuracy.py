import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.data.loading.resident import ResidentBatches
from pipeline.data.prepared import Split
from pipeline.device import Execution
from pipeline.distributed import World
from pipeline.evaluation.accuracy import mean_loss_and_top1, score

CPU = Execution(
    device=torch.device("cpu"),
    autocast=None,
    compile=False,
    channels_last=False,
    fused_optimizer=True,
    deterministic=True,
)


ALONE = World(rank=0, size=1)


class Lookup(nn.Module):
    """Logits of an image are a row of a table; the image's one pixel is the row number."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float32)
        self.dropout = nn.Dropout(1.0)
        self.seen = []

    def forward(self, images):
        rows = (images.flatten() * 255).round().long()
        self.seen += rows.tolist()
        return self.dropout(self.logits[rows])


def split_of(labels):
    numbers = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(numbers, np.array(labels, dtype=np.int64))


def batches_of(labels, batch_size=2, rank=0, world_size=1):
    return ResidentBatches(
        split_of(labels),
        [0.0],
        [1.0],
        batch_size=batch_size,
        augmentation=None,
        seed=0,
        execution=CPU,
        world=World(rank=rank, size=world_size),
    )


def test_counts_are_those_counted_by_hand():
    # classes 0..2; predictions 0, 2, 1, 1, 2
    model = Lookup([[9, 1, 0], [0, 1, 9], [0, 9, 1], [0, 9, 1], [0, 1, 9]])
    result = score(model, batches_of([0, 0, 1, 2, 2]), CPU, ALONE, classes=3)
    assert result.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert (result.images, result.correct) == (5, 3)
    assert result.top1 == 0.6
    assert result.top5 == 1.0  # three classes: all are among the five highest


def test_every_image_passes_once_in_order_and_in_evaluation_mode():
    model = Lookup(np.eye(7).tolist()).train()
    result = score(model, batches_of(list(range(7)), batch_size=3), CPU, ALONE, classes=7)
    assert model.seen == list(range(7))
    assert not model.training
    assert result.top1 == 1.0  # dropout of everything would leave one class


def test_top5_takes_the_five_highest():
    logits = [[6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]] * 7
    result = score(Lookup(logits), batches_of(list(range(7))), CPU, ALONE, classes=7)
    assert result.correct == 1
    assert result.top5_correct == 5


def test_loss_is_the_mean_over_images_not_over_batches():
    # softmax of (log 3, 0) is (3/4, 1/4): losses log(4/3), log(4/3), log 4
    model = Lookup([[math.log(3), 0.0]] * 3)
    expected = (2 * math.log(4 / 3) + math.log(4)) / 3
    assert score(model, batches_of([0, 0, 1]), CPU, ALONE, classes=2).loss == pytest.approx(
        expected
    )


def test_validation_agrees_with_the_full_score():
    generator = torch.Generator().manual_seed(0)
    model = Lookup(torch.randn(23, 4, generator=generator).tolist())
    labels = torch.randint(4, (23,), generator=generator).tolist()
    full = score(model, batches_of(labels, batch_size=5), CPU, ALONE, classes=4)
    assert mean_loss_and_top1(model, batches_of(labels, batch_size=7), CPU, ALONE) == pytest.approx(
        (full.loss, full.top1)
    )


def test_autocast_computes_in_its_type_and_counts_in_float32():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 3, bias=False))
    seen = []
    model[1].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    half = Execution(
        device=torch.device("cpu"),
        autocast=torch.bfloat16,
        compile=False,
        channels_last=False,
        fused_optimizer=True,
        deterministic=True,
    )
    result = score(model, batches_of([0, 1]), half, ALONE, classes=3)
    assert seen == [torch.bfloat16]
    assert math.isfinite(result.loss)


RANK = """
import sys
import torch.distributed as dist
from pipeline.distributed import World
from tests.evaluation.test_accuracy import CPU, Lookup, batches_of, mean_loss_and_top1, score

rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model = Lookup([[1.0, 0.0, 0.5]] * 5)
share = batches_of([0, 1, 2, 0, 1], 4, rank, world_size=2)
world = World(rank, size=2)
result = score(model, share, CPU, world, classes=3)
_, top1 = mean_loss_and_top1(model, share, CPU, world)
print(len(model.seen), result.confusion.tolist(), result.top5_correct, round(result.loss, 6), top1)
dist.destroy_process_group()
"""


def test_processes_count_every_image_once_where_their_number_does_not_divide(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    answers = [rank.communicate(timeout=60)[0].strip().split(maxsplit=1) for rank in ranks]
    alone = score(
        Lookup([[1.0, 0.0, 0.5]] * 5), batches_of([0, 1, 2, 0, 1], 4), CPU, ALONE, classes=3
    )
    shares = [int(seen) // 2 for seen, _ in answers]  # each image passed in each of the two counts
    assert sum(shares) == 5
    assert min(shares) >= 1
    expected = (
        f"{alone.confusion.tolist()} {alone.top5_correct} {round(alone.loss, 6)} {alone.top1}"
    )
    assert [counts for _, counts in answers] == [expected, expected]
