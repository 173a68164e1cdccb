"""The benchmarks at their smallest: that both loops train the same way, and what is written."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import epoch, profile, terms, training
from benchmarks.paired import Contender, Sample, interleave, rate, ratio
from benchmarks.workload import Images, OurLoop, UsualEpoch, Workload
from pipeline.data.prepared import Split
from pipeline.device import configure
from pipeline.params import load_params
from tests.conftest import ROOT, needs_cuda

CPU = torch.device("cpu")
OURS = {"ours", "ours, optimizer not fused", "ours, channels last"}


@pytest.fixture
def workload() -> Workload:
    """Sixteen images of 16x16 pixels in batches of eight, eager, WDM as the usual loop has it."""
    params = load_params(ROOT / "tables/cifar10-full/params.yaml")
    changes = {
        "compute": {"precision": "float32", "compile": "off", "threads": 1},
        "student": {"batch_size": 8},
        "mimicking": {"form": "released", "sort_every": 1},
    }
    sections = {
        name: getattr(params, name).model_copy(update=update) for name, update in changes.items()
    }
    params = params.model_copy(update=sections)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (16, 3, 16, 16), np.uint8)
    images = Images(Split(pixels, generator.integers(0, 10, 16)), "sixteen")
    return Workload(params, configure(params.compute, CPU, binary=True), images)


@pytest.mark.parametrize("usual_layers", [False, True])
@pytest.mark.parametrize("row", ["complete", "binary"])
def test_both_loops_take_the_same_step(workload, row, usual_layers):
    ours = OurLoop(workload, "resnet20", row, batches=1)
    usual = UsualEpoch(workload, "resnet20", row, 1, workers=0, usual_layers=usual_layers).loop
    student = ours.task.model
    before = {name: value.clone() for name, value in student.named_parameters()}
    batch = next(workload.our_batches().batches(0))

    ours.epoch()
    usual.train([batch])

    moved = {name: (value - before[name]).norm() for name, value in student.named_parameters()}
    assert min(moved.values()) > 0
    for name, value in usual.student.named_parameters():
        torch.testing.assert_close(value, student.get_parameter(name), rtol=1e-4, atol=1e-5)


def test_an_epoch_is_compared_in_both_rows(workload):
    result = epoch.measure(workload, "resnet20", rounds=2, batches=2)
    assert result.keys() == {"complete", "binary"}
    for row in result.values():
        assert row["images"].keys() == {*OURS, "usual", "usual, its own layers"}
        wall = row["ratio"]["ours"]["wall"]
        assert 0 < wall["min"] <= wall["median"] <= wall["max"]


def test_bfloat16_is_also_compared_in_the_usual_loops_precision(workload):
    half = replace(workload.execution, autocast=torch.bfloat16)
    result = epoch.measure(replace(workload, execution=half), "resnet20", rounds=1, batches=1)
    for row in result.values():
        assert set(row["ratio"]) == {*OURS, "ours, float32", "usual, its own layers"}


@needs_cuda
def test_on_a_gpu_the_cost_of_deterministic_algorithms_is_measured(workload):
    compute = workload.params.compute
    on_gpu = replace(workload, execution=configure(compute, torch.device("cuda", 0), binary=True))
    for row in epoch.measure(on_gpu, "resnet20", rounds=1, batches=1).values():
        assert row["ratio"]["ours, deterministic"]["wall"]["median"] > 0
    assert not torch.are_deterministic_algorithms_enabled()


def test_terms_are_shares_of_a_step(workload):
    shares = terms.measure(workload, rounds=1)["share"]
    assert shares.keys() == {"quantile", "softmax", "released", "usual"}
    assert all(share["wall"]["median"] > 0 for share in shares.values())


def test_a_profile_names_the_longest_operators(workload):
    shares = profile.measure(workload, "resnet20")["share"]
    assert any("conv" in name for name in shares)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert 0.5 < sum(shares.values()) <= 1


def test_the_command_writes_what_it_measured(tmp_path):
    command = [sys.executable, "-m", "benchmarks.training", "input"]
    options = ["--rounds", "1", "--batches", "2", "--threads", "1", "--out", str(tmp_path)]
    environment = {**os.environ, "BDBNN_SHARED": str(tmp_path)}
    subprocess.run([*command, *options], cwd=ROOT, env=environment, check=True)
    result = json.loads((tmp_path / "input.json").read_text())
    assert result["hardware"]["threads"] == 1
    assert result["settings"]["images"] == "45000 random images of CIFAR's shape"
    assert result["images"].keys() == {"ours", "usual", "usual, 2 workers"}
    assert result["ratio"]["usual"]["cpu"]["median"] > 1


def test_an_unknown_part_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training", "speed"])
    with pytest.raises(SystemExit) as end:
        training.main()
    assert end.value.code == 2
    assert "no part 'speed': allowed are epoch, terms, input" in capsys.readouterr().err


def test_samples_of_a_round_are_compared_with_each_other():
    slow = [Sample(2.0, 4.0), Sample(9.0, 6.0), Sample(4.0, 4.0)]
    fast = [Sample(1.0, 1.0), Sample(3.0, 6.0), Sample(8.0, 1.0)]
    assert ratio(slow, fast) == {
        "wall": {"median": 2, "min": 0.5, "max": 3},
        "cpu": {"median": 4, "min": 1, "max": 4},
    }
    assert rate(slow) == {
        "per_second": {"median": 0.25, "min": 0.1111, "max": 0.5},
        "cpu_milliseconds": 4000,
    }


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr("benchmarks.paired.REST", 0)
    ran = []
    contenders = {name: Contender(lambda name=name: ran.append(name), 1) for name in "ab"}
    samples = interleave(contenders, 3, CPU)
    assert "".join(ran) == "ab" + "abbaab"
    assert {name: len(each) for name, each in samples.items()} == {"a": 3, "b": 3}
