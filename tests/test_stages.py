"""The stages as commands, and the pipeline files that call them."""

import importlib
import re
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from torch.distributed.run import parse_args

from pipeline.errors import UserError, run
from pipeline.names import LOSSES
from pipeline.params import load_params
from tests.clone import Clone
from tests.conftest import ROOT, read_yaml, stage_command

STAGES = {
    "prepare": "manifest.json",
    "teacher": "best.safetensors",
    "finetune": "TEACHER",
    "binarize": "TEACHER",
    "evaluate": "confusion matrix",
    "report": "report.html",
}
"""Each stage and something its help must name."""
FILES = {"dvc.yaml": 7, "reports/cifar10/dvc.yaml": 7, "reports/imagenet/dvc.yaml": 10}
"""Each pipeline and its number of trainings."""


def help_of(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"stages.{stage}", "--help"])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"stages.{stage}").main()
    assert end.value.code == 0
    return capsys.readouterr().out


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


def test_a_mistake_is_one_line_and_told_to_torchrun(monkeypatch, tmp_path, capsys):
    def main():
        raise UserError("batch_size is 33")

    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    assert capsys.readouterr() == ("", "error: batch_size is 33\n")
    assert '"message": "error: batch_size is 33"' in (tmp_path / "error.json").read_text()


def stages_of(file):
    for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items():
        yield name, stage.get("do", stage)


def params_of(stage):
    sections = set()
    for entry in stage.get("params", []):
        sections |= {entry} if isinstance(entry, str) else set(*entry.values())
    return sections


@pytest.mark.parametrize("file", FILES)
def test_every_command_uses_options_the_stage_has(file, monkeypatch, capsys):
    for name, stage in stages_of(file):
        module = re.search(r"-m stages\.(\w+)", stage["cmd"])[1]
        known = set(re.findall(r"--[a-z-]+", help_of(module, monkeypatch, capsys)))
        assert set(re.findall(r" (--[a-z-]+)", stage["cmd"])) <= known, name
        assert f"stages/{module}.py" in stage["deps"], name


@pytest.mark.parametrize("file", FILES)
def test_every_training_depends_on_the_params_its_losses_read(file):
    """A section that is missing there would leave a stale result after a change."""
    phases = {"teacher": "teacher", "finetune": "finetune", "binarize": "student"}
    rows = 0
    for name, stage in stages_of(file):
        module = re.search(r"-m stages\.(\w+)", stage["cmd"])[1]
        if module not in phases or name == "pretrained":
            continue
        phase = phases[module]
        if step := re.search(r"--step (\w+)", stage["cmd"]):
            phase = f"step_{step[1]}"
        command = stage["cmd"].replace("${logit_losses}", "cross_entropy distillation")
        losses = {
            "teacher": ["cross_entropy"],
            "finetune": ["cross_entropy", "kurtosis"],
            "binarize": re.findall(r"--losses ([a-z_ ]+)", command)[:1],
        }[module]
        losses = " ".join(losses).split()
        assert losses, name
        assert set(losses) <= set(LOSSES), name
        read = {phase, "augmentation", "compute", "debug", "network", *losses}
        if module == "binarize":
            read.add("binarization")
        assert params_of(stage) == read, name
        rows += 1
    assert rows == FILES[file]


@pytest.mark.parametrize("file", FILES)
def test_every_folder_a_command_names_is_an_input_or_an_output(file):
    for name, stage in stages_of(file):
        outs = [out if isinstance(out, str) else next(iter(out)) for out in stage["outs"]]
        for folder in re.findall(r"(?:data|models)/\S+", stage["cmd"]):
            assert folder in stage["deps"] + outs, name


@pytest.mark.parametrize("file", FILES)
def test_the_launcher_is_left_to_the_shell(file):
    """DVC hashes the command: what the variable holds must not be in it."""
    shell = shutil.which("sh")
    for name, stage in stages_of(file):
        if "BDBNN_LAUNCH" not in stage["cmd"]:
            assert re.match(r"python -m stages\.(prepare|evaluate|report) ", stage["cmd"]), name
            continue
        command = stage["cmd"].replace("\\$", "$")
        command = "echo " + re.sub(r"\$\{[\w.]+\}", "x", command)

        def words(command=command, **environment):
            return subprocess.check_output([shell, "-c", command], env=environment).decode().split()

        assert words()[:2] == ["python", "-m"], name
        launched = words(BDBNN_LAUNCH="torchrun --standalone --nproc-per-node=2")
        assert launched[:4] == ["torchrun", "--standalone", "--nproc-per-node=2", "-m"], name
        assert launched[4:] == words()[2:], name
        arguments = parse_args(launched[1:])  # torchrun takes what abbreviates its own options
        assert [arguments.training_script, *arguments.training_script_args] == launched[4:], name


def test_the_whole_imagenet_table_is_two_files_away(tmp_path):
    """Its parameters have a section more: pretrained."""
    clone = Clone(tmp_path / "clone", "reports/imagenet/params.yaml", {})
    for name in ("cells.yaml", "params.yaml"):
        shutil.copy(ROOT / "reports/imagenet/full" / name, clone.folder / "reports/imagenet" / name)
    load_params(clone.folder / "reports/imagenet/params.yaml")
    listed = clone.run("dvc", "stage", "list", "--name-only", "reports/imagenet/dvc.yaml")
    cells, pretrained = 2 * 3, 3
    trained, evaluated = 10 * cells + pretrained, 7 * cells + pretrained
    assert len(listed.split()) == 1 + trained + evaluated + 1


def test_the_whole_cifar10_table_is_two_files_away(tmp_path):
    clone = Clone(tmp_path / "clone", "reports/cifar10/params.yaml", {})
    for name in ("cells.yaml", "params.yaml"):
        full = clone.folder / "reports/cifar10/full" / name
        measured = clone.folder / "reports/cifar10" / name
        assert read_yaml(full).keys() == read_yaml(measured).keys()
        shutil.copy(full, measured)
    listed = clone.run("dvc", "stage", "list", "--name-only", "reports/cifar10/dvc.yaml")
    cells = 3 * 3
    assert len(listed.split()) == 1 + 7 * cells + 7 * cells + 1
