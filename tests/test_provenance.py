import json

import pytest
import torch

from pipeline.device import configure
from pipeline.provenance import hardware, record
from tests.training.conftest import tiny_params


@pytest.fixture
def written(tmp_path):
    """Records the bytes of one output; returns the file's content."""
    execution = configure(tiny_params().compute, torch.device("cpu"), binary=False)

    def write(stage: str, content: str, **more) -> dict:
        output = tmp_path / "best"
        output.write_text(content)
        record(tmp_path, "run", stage, execution, {"best": output}, **more)
        return json.loads((tmp_path / "provenance/run.json").read_text())

    return write


def test_the_run_that_made_the_bytes_first_is_named(written):
    first = written("training", "weights", seconds=1.0)
    assert written("training", "weights", seconds=2.0) == first
    assert first["training"]["seconds"] == 1.0
    assert first["training"].keys() >= {"revision", "packages", "cpu", "started", "finished"}


def test_other_bytes_have_another_run(written):
    written("training", "weights", seconds=1.0)
    assert written("training", "other", seconds=2.0)["training"]["seconds"] == 2.0


def test_an_evaluation_leaves_the_training_as_it_was(written):
    first = written("training", "weights")
    both = written("evaluation", "metrics")
    assert both["training"] == first["training"]
    assert both.keys() == {"training", "evaluation"}


@pytest.mark.parametrize("size", ["4", "abc"])
def test_processes_are_those_of_the_group_and_not_of_the_environment(written, monkeypatch, size):
    """An evaluation is one process, also where an environment of torchrun is left."""
    monkeypatch.setenv("WORLD_SIZE", size)
    assert written("evaluation", "metrics")["evaluation"]["processes"] == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"training": 1}', '{"training": {"outputs": 1}}', "[" * 10_000]
)
def test_a_damaged_file_does_not_spoil_a_finished_training(written, tmp_path, content):
    written("training", "weights")
    (tmp_path / "provenance/run.json").write_text(content)
    assert written("training", "weights")["training"]["outputs"].keys() == {"best"}


def test_a_revision_that_is_not_utf_8(written, monkeypatch):
    """A copy without Git takes it from the environment, and only when all is trained."""
    monkeypatch.setattr("pipeline.provenance._git", lambda *_: None)
    monkeypatch.setenv("BDBNN_REVISION", "v1\udcff")
    assert written("training", "weights")["training"]["revision"] == r"v1\udcff"


def test_hardware_is_a_gpu_by_its_name_or_a_cpu_with_its_instructions(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert hardware(torch.device("cuda", 1)) == "GPU 1"
    assert hardware(torch.device("cpu")).endswith(f"({torch.backends.cpu.get_cpu_capability()})")
