"""What `make verify` says beside the hashes."""

import subprocess

import pytest
import torch

from pipeline.errors import UserError
from tools import repeatability
from tools.repeatability import output_hashes, run_in_clone, threads


@pytest.mark.parametrize(("count", "said"), [(1, "1 thread(s)"), (4, "4 thread(s)")])
def test_the_number_of_threads_is_told(count, said):
    assert threads({"compute": {"threads": count}}).startswith(f"computed with {said}")


def test_the_threads_of_the_machine_are_told():
    assert f"{torch.get_num_threads()} threads" in threads({"compute": {"threads": 0}})


def test_what_ends_badly_in_a_clone_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(repeatability, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"^git clone ended with 128, see above$"):
        run_in_clone(tmp_path / "clone")


def test_hashes_are_those_of_the_lock(tmp_path):
    lock = tmp_path / "dvc.lock"
    assert output_hashes(lock) == {}
    lock.write_text("stages:\n  a: {outs: [{path: b, md5: c}]}\n  d: {cmd: e}\n")
    assert output_hashes(lock) == {"b": "c"}


def test_a_stage_whose_result_lies_in_git_is_run_again(tmp_path, monkeypatch):
    origin, runs = tmp_path / "origin", tmp_path / "runs"
    origin.mkdir()
    (origin / "dvc.yaml").write_text(
        f"""
        stages:
          train: {{cmd: echo 1 > model, outs: [model]}}
          evaluate:
            cmd: cp model result && echo ran >> {runs}
            deps: [model]
            outs: [{{result: {{cache: false}}}}]
        """
    )
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    for command in (
        "git init --quiet",
        "dvc init --quiet",
        "dvc repro --quiet",
        "git add --all",
        "git -c user.name=a -c user.email=a@example.org commit --quiet -m done",
    ):
        subprocess.run(command.split(), cwd=origin, check=True)
    assert "result" in subprocess.check_output(["git", "ls-files"], cwd=origin, text=True)
    monkeypatch.setattr(repeatability, "ROOT", origin)
    hashes = run_in_clone(tmp_path / "clone")
    assert hashes == output_hashes(origin / "dvc.lock")
    assert runs.read_text().split() == ["ran", "ran"]
