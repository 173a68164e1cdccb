"""The stage as a command, in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.data.prepared import load_manifest, load_split
from stages import prepare
from tests.conftest import ROOT, read_yaml, write_yaml


@pytest.fixture
def params(tmp_path):
    """Write the repository's params file with some values of its section `data` changed."""

    def write(**changes):
        content = read_yaml(ROOT / "params.yaml")
        content["data"] |= changes
        path = tmp_path / "params.yaml"
        write_yaml(path, content)
        return path

    return write


def command(*arguments, limit_bytes=None, limit_memory=None):
    limit = f"ulimit -f {limit_bytes // 1024}; " if limit_bytes else ""
    limit += f"ulimit -v {limit_memory // 1024}; " if limit_memory else ""
    words = [sys.executable, "-m", "stages.prepare", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", f'{limit}exec "$@"', "bash", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def run_main(monkeypatch, params, out):
    monkeypatch.setattr(sys, "argv", ["prepare", "--params", str(params), "--out", str(out)])
    prepare.main()


def test_digits_twice_give_the_same_bytes(params, tmp_path, monkeypatch, capsys):
    path = params(source="digits", image_size=16, validation=0.15)
    for name in ("first", "second"):
        run_main(monkeypatch, path, tmp_path / name)
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second
    assert "digits: 1222 train, 216 validation, 359 test images of 1x16x16" in (
        capsys.readouterr().out
    )
    manifest = load_manifest(tmp_path / "first")
    train, test = (load_split(tmp_path / "first", manifest, name) for name in ("train", "test"))
    assert train.images.shape == (1222, 1, 16, 16)
    assert manifest.classes == tuple("0123456789")
    assert np.bincount(test.labels).tolist() == list(manifest.counts["test"])


def test_the_command_writes(params, tmp_path):
    out = tmp_path / "out"
    done = command("--params", params(source="digits", limit=200), "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert sum(load_manifest(out).counts["test"]) == 200


def test_bad_input_is_one_line_and_nothing_is_written(params, tmp_path, run_here):
    path = params(source="folders", location=str(tmp_path / "absent"))
    end = run_here("prepare", tmp_path, "--params", path, "--out", "out")
    assert end.code == 1
    assert end.err == f"error: {tmp_path / 'absent'}: no such folder (data.location)\n"
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]


def test_images_that_memory_does_not_hold_are_one_line(params, tmp_path):
    path = params(source="digits", image_size=8192, limit=0)
    done = command("--params", path, "--out", tmp_path / "out", limit_memory=2**34)
    assert done.returncode == 1
    assert done.stderr == (
        "error: data.image_size is 8192: 1222 images of it take 229 GiB, more than there is "
        "memory; lower it, set data.limit, or add the section streaming\n"
    )


def test_a_full_disk_is_one_line_and_nothing_is_written(params, tmp_path):
    path = params(source="digits", image_size=32)
    done = command("--params", path, "--out", tmp_path / "out", limit_bytes=100 * 1024)
    assert done.returncode == 1
    assert "train_images.npy: could not be written: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["params.yaml"]
