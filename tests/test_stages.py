"""The stages as commands."""

import importlib
import os
import re
import signal
import subprocess
import sys

import pytest

from pipeline.errors import UserError, run
from tests.conftest import ROOT, help_of, stage_command

STAGES = {
    "prepare": "manifest.json",
    "teacher": "best.safetensors",
    "finetune": "TEACHER",
    "binarize": "TEACHER",
    "evaluate": "confusion matrix",
    "report": "report.html",
}
"""Each stage and something its help must name."""


@pytest.mark.parametrize("stage", STAGES)
def test_help_names_what_is_read_and_written(stage, monkeypatch, capsys):
    text = help_of(stage, monkeypatch, capsys)
    assert re.search(r"\breads\b", text, re.IGNORECASE)
    assert re.search(r"\bwrites\b", text, re.IGNORECASE)
    assert STAGES[stage] in text
    assert "--params PARAMS" in text


@pytest.mark.parametrize("stage", STAGES)
def test_missing_arguments_are_named(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"stages.{stage}"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"stages.{stage}").main()
    assert end.value.code == 2
    assert "the following arguments are required: --params" in capsys.readouterr().err


def test_ctrl_c_is_one_line_and_ends_by_its_signal():
    program = "import signal; from pipeline.errors import run; "
    program += "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell may ignore it
    program += "run(lambda: signal.raise_signal(signal.SIGINT))"
    end = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False
    )
    assert (end.returncode, end.stdout, end.stderr) == (-signal.SIGINT, b"", b"interrupted\n")


def test_a_stage_is_a_command():
    end = subprocess.run(
        stage_command("prepare", "--params", "missing.yaml", "--out", "data"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 1
    assert end.stdout == ""
    assert end.stderr == "error: missing.yaml: no such file or directory\n"


@pytest.mark.parametrize(
    ("stage", "file", "given"),
    [
        ("cells", "out", ("--recipe", ROOT / "dvc.yaml")),
        ("inventory", "out", ("--params", ROOT / "params.yaml")),
        ("programs", "out/binarize.json", ()),
        ("validate", "out", ("--params", ROOT / "params.yaml")),
        ("vary", "out", ("--params", ROOT / "params.yaml", "--variant", "data.seed=1")),
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device"])
def test_a_pipe_or_a_device_that_is_named_as_output_is_not_replaced(
    stage, file, given, kind, tmp_path, run_here
):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if kind == "pipe":
        pipe.rename(path)
    else:
        path.symlink_to(pipe if kind == "link to a pipe" else "/dev/null")
    before = path.lstat()
    end = run_here(stage, tmp_path, *given, "--out", "out")
    assert (end.code, end.out) == (1, "")
    assert end.err == f"error: {file}: could not be written: it is no regular file\n"
    assert os.path.samestat(path.lstat(), before)


def test_a_mistake_is_one_line_and_told_to_torchrun(monkeypatch, tmp_path, capsys):
    def main():
        raise UserError("batch_size is 33")

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    assert capsys.readouterr() == ("", "error: batch_size is 33\n")
    assert '"message": "error: batch_size is 33"' in (tmp_path / "error.json").read_text()
