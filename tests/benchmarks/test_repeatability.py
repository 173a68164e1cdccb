"""What `make verify` says beside the hashes."""

import pytest
import torch

from benchmarks.repeatability import output_hashes, threads


@pytest.mark.parametrize(("count", "said"), [(1, "1 thread(s)"), (4, "4 thread(s)")])
def test_the_number_of_threads_is_told(count, said):
    assert threads({"compute": {"threads": count}}).startswith(f"computed with {said}")


def test_the_threads_of_the_machine_are_told():
    assert f"{torch.get_num_threads()} threads" in threads({"compute": {"threads": 0}})


def test_hashes_are_those_of_the_lock(tmp_path):
    lock = tmp_path / "dvc.lock"
    assert output_hashes(lock) == {}
    lock.write_text("stages:\n  a: {outs: [{path: b, md5: c}]}\n  d: {cmd: e}\n")
    assert output_hashes(lock) == {"b": "c"}
