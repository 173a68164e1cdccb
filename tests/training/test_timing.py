"""What `timing` says of an epoch: warm-up apart from throughput."""

import pandas as pd
import pytest

from pipeline.data.prepared import load_manifest
from tests.training.conftest import TEACHER, arguments

TIMING = f"results/digits/timing/{TEACHER.rpartition('/')[2]}.csv"


def counted_images(timing: pd.DataFrame) -> list[float]:
    """Images whose time counts in images_per_second, for each epoch."""
    return (timing["images_per_second"] * (timing["seconds"] - timing["warm_up_seconds"])).tolist()


def test_the_first_step_of_each_size_is_warm_up(make_workplace, run_here):
    folder = make_workplace(overrides={"teacher.epochs": 2})
    images = sum(load_manifest(folder / "data/digits").counts["train"])
    assert images == 102, "in batches of 26, 26, 25 and 25"
    end = run_here("teacher", folder, *arguments("teacher"))
    assert end.code == 0, end.err
    timing = pd.read_csv(folder / TIMING)
    assert timing["warm_up_seconds"][0] > 0
    assert timing["warm_up_seconds"][1] == 0
    assert counted_images(timing) == pytest.approx([26 + 25, images], rel=1e-3)


def test_an_epoch_of_first_steps_alone_counts_whole(make_workplace, run_here):
    folder = make_workplace(overrides={"teacher.epochs": 1, "debug.batches": 1})
    end = run_here("teacher", folder, *arguments("teacher"))
    assert end.code == 0, end.err
    timing = pd.read_csv(folder / TIMING)
    assert timing["warm_up_seconds"].tolist() == [0]
    assert counted_images(timing) == pytest.approx([26], rel=1e-3)
