import json

import pytest
import torch

from pipeline.device import configure
from pipeline.provenance import record
from tests.training.conftest import tiny_params


@pytest.fixture
def recorded(tmp_path):
    """Records a training whose output is one file; returns what its provenance holds then."""
    (tmp_path / "best").write_text("weights")
    execution = configure(tiny_params().compute, torch.device("cpu"), binary=False)
    path = tmp_path / "provenance/cell.json"

    def call():
        record(tmp_path, "cell", "training", execution, {"best": tmp_path / "best"})
        return path, json.loads(path.read_text())

    return call


def test_an_entry_of_the_same_bytes_is_left_and_one_of_others_is_replaced(recorded, tmp_path):
    path, first = recorded()
    path.write_text(json.dumps({**first, "evaluation": {"revision": "abc"}, "training": {
        **first["training"], "revision": "of the first run"}}))  # fmt: skip
    assert recorded()[1]["training"]["revision"] == "of the first run"
    (tmp_path / "best").write_text("other weights")
    _, other = recorded()
    assert other["training"]["outputs"] != first["training"]["outputs"]
    assert other["evaluation"] == {"revision": "abc"}


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"training": 1}', '{"training": {"outputs": 1}}', "[" * 10_000]
)
def test_a_damaged_file_does_not_spoil_a_finished_training(recorded, content):
    path, _ = recorded()
    path.write_text(content)
    _, found = recorded()
    assert found["training"]["outputs"].keys() == {"best"}
