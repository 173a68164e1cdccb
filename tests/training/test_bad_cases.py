"""What must end in one line, with a non-zero exit code and nothing half-written."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from pipeline.artifacts import read_json, read_tensors, sha256, write_json, write_tensors
from pipeline.errors import UserError
from pipeline.models.resnet20 import ResNet20
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.interruption import EXIT_CODE
from pipeline.training.progress import Progress
from pipeline.training.state import unpack
from tests.conftest import largest_file, read_yaml, renew_checksums
from tests.training.conftest import STUDENT, TEACHER, arguments, start_stage

CELL = Path(STUDENT).name


def assert_one_line(end, expected: str) -> None:
    assert end.code == 1
    assert end.err.startswith("error: ")
    assert end.err.count("\n") == 1 and end.err.endswith("\n")
    assert expected in end.err


def assert_nothing_written(folder: Path) -> None:
    assert not (folder / STUDENT).exists()
    assert not (folder / "results").exists() or (folder / "results").is_file()
    assert not list(folder.rglob("*.part"))


DIVERGING = {"student.learning_rate": 1e20, "student.optimizer": "sgd"}
PARAMS = {
    "unknown key": ({"student.epoch": 3}, "student.epoch is unknown"),
    "wrong type": ({"student.epochs": "ten"}, "student.epochs is 'ten': Input should be a valid"),
    "no epoch": ({"student.epochs": -1}, "student.epochs is -1: Input should be greater than 0"),
    "target below 1": ({"kurtosis.target": 0.9}, "target is 0.9: kurtosis is never below 1"),
    "number of targets": (
        {"kurtosis.target": "1.4 x3, 2"},
        "kurtosis.target has 4 targets: the network has 18 regularized layers",
    ),
    "nothing to learn": (
        {
            f"{loss}.weight": 0
            for loss in ("cross_entropy", "kurtosis", "distillation", "mimicking")
        },
        "the weight of each is 0, so nothing would be learned",
    ),
    "single images": ({"student.batch_size": 1}, "batch_size is 1, the smallest batch has 1: "),
    "diverging": (
        DIVERGING,
        f"digits/{CELL}: the loss is nan in step 2 of epoch 1 (cross_entropy ",
    ),
    "diverging in the last step": (
        DIVERGING | {"debug.batches": 1},
        f"digits/{CELL}: the validation loss is nan after epoch 1; lower learning_rate, now",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "expected"), PARAMS.values(), ids=PARAMS.keys())
def test_params(make_workplace, run_here, write_params, overrides, expected):
    folder = make_workplace()
    write_params(overrides, "work/params.yaml")
    assert_one_line(run_here("binarize", folder, *arguments("binarize")), expected)
    assert_nothing_written(folder)


ARGUMENTS = {
    "params": ({"params": "missing.yaml"}, "missing.yaml: no such file or directory"),
    "data": ({"data": "data/missing"}, "data/missing"),
    "teacher": ({"teacher": "models/missing"}, "models/missing/model.json: no such file"),
    "other network": (
        {"network": "vgg_small"},
        "mimicking pairs layers by name: conv2 is (128, 128, 3, 3) in the student, nothing in the",
    ),
    "a loss twice": (
        {"losses": ("cross_entropy", "kurtosis", "kurtosis")},
        "losses: kurtosis is named twice",
    ),
    "a row of two steps": (
        {"row": "complete-step-one"},
        "step: single does not fit the row complete-step-one; step one has the rows binary-step-o",
    ),
    "the place of an input": ({"out": TEACHER}, f"{TEACHER}: would replace {TEACHER}, which this"),
    "a place in an input": ({"out": f"{TEACHER}/x"}, f"{TEACHER}/x: would replace {TEACHER}, whic"),
    "a name of two lines": ({"out": "models/a\nb"}, r"models/a\nb: its name, that of its curves, "),
    "results that would be replaced": (
        {"results": STUDENT},
        f"{STUDENT}/curves: lies in {STUDENT}, which is replaced whole",
    ),
    "no logits": ({"losses": ("kurtosis",)}, "losses: kurtosis: needs cross_entropy or distillati"),
}


@pytest.mark.parametrize(("changes", "expected"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_arguments(make_workplace, run_here, changes, expected):
    folder = make_workplace()
    end = run_here("binarize", folder, *arguments("binarize", **changes))
    assert_one_line(end, expected)
    assert_nothing_written(folder)


ENVIRONMENTS = {
    "alone of two": ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT is"),
    "no number": (
        {"WORLD_SIZE": "abc"},
        "WORLD_SIZE is 'abc': torchrun sets it, to a whole number",
    ),
    "none": ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': torchrun sets it, to a whole number from 1"),
    "digits": ({"WORLD_SIZE": "9" * 5000}, "torchrun sets it, to a whole number from 1 to 65536"),
    "rank beyond": (
        {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"},
        "RANK is '2': torchrun sets it, to a whole number from 0 to 1",
    ),
    "no address": (
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "", "MASTER_PORT": "0"},
        "WORLD_SIZE is 2, but MASTER_ADDR is not set: start with torchrun, or unset WORLD_SIZE",
    ),
    "a port in use": (
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "USED"},
        "the 2 processes of WORLD_SIZE did not meet at MASTER_ADDR, localhost, and MASTER_PORT, ",
    ),
    "no port": (
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "http"},
        "MASTER_PORT is 'http': torchrun sets it, to a whole number from 0 to 65535",
    ),
}


@pytest.mark.parametrize(
    ("environment", "expected"), ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys()
)
def test_an_environment_that_torchrun_did_not_make(
    make_workplace, run_here, monkeypatch, environment, expected
):
    folder = make_workplace()
    with socket.create_server(("", 0)) as server:
        for name, value in environment.items():
            monkeypatch.setenv(name, value.replace("USED", str(server.getsockname()[1])))
        assert_one_line(run_here("binarize", folder, *arguments("binarize")), expected)
    assert_nothing_written(folder)


def test_a_compiler_that_does_not_work(make_workplace, run_here, monkeypatch):
    """To compile takes a minute: the network raises what torch.compile raises then."""
    folder = make_workplace()

    def cannot_be_compiled(network, images):
        raise BackendCompilerFailed(print, IndexError("list index\nout of range"), None)

    monkeypatch.setattr(ResNet20, "forward", cannot_be_compiled)
    monkeypatch.setenv("CXX", "/bin/true")
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, "compute.compile: torch.compile failed (backend='print' raised: IndexErr")
    assert "set it to off, or CXX to a compiler that works, now /bin/true" in end.err
    assert_nothing_written(folder)


def test_mimicking_a_network_with_other_layers(make_workplace, run_here):
    folder = make_workplace(overrides={"student.initialize": "random"})
    end = run_here("binarize", folder, *arguments("binarize", network="vgg_small"))
    assert_one_line(end, "mimicking pairs layers by name: ")
    assert_nothing_written(folder)


def test_a_teacher_of_other_classes(make_workplace, run_here):
    folder = make_workplace(overrides={"student.initialize": "random"})
    description = read_json(folder / TEACHER / "model.json")
    description["architecture"]["classes"] = 7
    write_json(folder / TEACHER / "model.json", description)
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, f"teacher {TEACHER}: its classes is 7, that of this network is 10")
    assert_nothing_written(folder)


@pytest.mark.parametrize("start", ["teacher", "random"])
def test_a_teacher_that_is_binary(make_workplace, run_here, start):
    folder = make_workplace(overrides={"student.initialize": start})
    description = read_json(folder / TEACHER / "model.json")
    binarization = read_yaml(folder / "params.yaml")["binarization"]
    description["architecture"]["binarization"] = binarization
    write_json(folder / TEACHER / "model.json", description)
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, f"teacher {TEACHER}: is a binary network; name one of full precision")
    assert_nothing_written(folder)


@pytest.mark.parametrize("damage", ["another architecture", "truncated", "flipped", "description"])
def test_a_damaged_teacher(make_workplace, run_here, damage):
    folder = make_workplace()
    weights = folder / TEACHER / "best.safetensors"
    if damage == "another architecture":
        tensors = read_tensors(weights)
        tensors["linear.weight"] = torch.zeros(7, 64)
        write_tensors(weights, tensors)
        renew_checksums(folder / TEACHER)
        expected = f"{TEACHER}/best.safetensors: holds another architecture: linear.weight is (7, "
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
        expected = f"{TEACHER}/best.safetensors: is not a readable safetensors file"
    elif damage == "flipped":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        expected = f"{TEACHER}/best.safetensors: differs from its checksum in model.json"
    else:
        description = read_json(folder / TEACHER / "model.json")
        del description["architecture"]["network"]
        write_json(folder / TEACHER / "model.json", description)
        expected = f"{TEACHER}/model.json: architecture.network: Field required"
    assert_one_line(run_here("binarize", folder, *arguments("binarize")), expected)
    assert_nothing_written(folder)


@pytest.fixture
def interrupted(make_workplace, run_here, monkeypatch):
    """A folder with the checkpoint of a training's first epoch, and the checkpoint."""
    folder = make_workplace()

    def stop(progress, row, images_per_second):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        assert run_here("binarize", folder, *arguments("binarize")).code == EXIT_CODE
    (mark,) = folder.glob(f".scratch/digits/{CELL}/*/epoch-0001.sha256")
    return folder, mark.with_suffix(".safetensors")


FORGED = {
    "another architecture": (
        {"model.linear.weight": torch.zeros(7, 64)},
        {},
        "holds another architecture: linear.weight is (7, 64)",
    ),
    "best of another architecture": (
        {"best.linear.bias": torch.zeros(3)},
        {},
        "holds another architecture: linear.bias is (3,)",
    ),
    "nan": ({"model.linear.bias": torch.full([10], torch.nan)}, {}, "linear.bias holds numbers"),
    "no slot": ({"optimizer.0.exp_avg": None}, {}, "optimizer.0.exp_avg is not (16, 1, 3, 3)"),
    "a slot's shape": ({"optimizer.0.step": torch.zeros(2)}, {}, "optimizer.0.step is not ()"),
    "a slot of nan": (
        {"optimizer.0.step": torch.tensor(torch.nan)},
        {},
        "optimizer.0.step is not () finite numbers",
    ),
    "another slot": ({"optimizer.x.step": torch.zeros(2)}, {}, "optimizer.x.step is unknown"),
    "no epoch": ({}, {"epochs_done": None}, "epochs_done: Field required"),
    "another epoch": ({}, {"epochs_done": 2}, "epochs_done does not fit the rest"),
    "no such best epoch": ({}, {"best_epoch": 2}, "best_epoch does not fit the rest"),
    "no history": ({}, {"history": {}}, "history does not fit the rest"),
    "another top-1": ({}, {"validation_top1": 0.123}, "validation_top1 does not fit the rest"),
}


@pytest.mark.parametrize(("tensors", "state", "expected"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_checkpoint_with_the_right_checksum(
    interrupted, run_here, tensors, state, expected
):
    """The training names it and starts from the one before it, of which there is none here."""
    folder, checkpoint = interrupted
    with safe_open(checkpoint, framework="pt") as file:
        known = json.loads(file.metadata()["state"]) | state
    known = {key: value for key, value in known.items() if value is not None}
    found = read_tensors(checkpoint) | tensors
    found = {name: tensor for name, tensor in found.items() if tensor is not None}
    save_file(found, checkpoint, {"state": json.dumps(known)})
    checkpoint.with_suffix(".sha256").write_text(sha256(checkpoint))
    end = run_here("binarize", folder, *arguments("binarize"))
    assert end.code == 0
    assert f"{checkpoint.relative_to(folder)}: " in end.err
    assert f"{expected}" in end.err
    assert [line for line in end.err.splitlines() if line.endswith("refused")] == [
        end.err.splitlines()[0]
    ]
    assert "epoch 1/2" in end.out, "it starts anew"


TIMINGS = {
    "seconds as text": {"seconds": "1"},
    "negative": {"images_per_second": -1.0},
    "nan": {"peak_memory_mib": float("nan")},
    "missing": {"warm_up_seconds": None},
    "hardware as number": {"hardware": 1},
    "huge": {"seconds": 1e308},
}


@pytest.mark.parametrize("changes", TIMINGS.values(), ids=TIMINGS.keys())
def test_a_forged_timing(interrupted, changes):
    _, checkpoint = interrupted
    tensors, state = read_checkpoint(checkpoint.read_bytes(), "a checkpoint")
    state["history"]["timing"][0] |= changes
    with pytest.raises(UserError, match="timing does not fit the rest"):
        unpack(tensors, state, nn.Module(), torch.optim.SGD([torch.zeros(1)]), "a checkpoint", 2)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"learning_rate": "=1+1"}, "tables"),
        ({"validation_top1": 7.0}, "validation_top1"),
        ({"validation_top1": None}, "validation_top1"),
        ({"validation_loss": None}, "validation_loss"),
    ],
)
def test_forged_curves(interrupted, changes, key):
    _, checkpoint = interrupted
    tensors, state = read_checkpoint(checkpoint.read_bytes(), "a checkpoint")
    state["history"]["curves"][0] |= changes
    with pytest.raises(UserError, match=f"{key} does not fit the rest"):
        unpack(tensors, state, nn.Module(), torch.optim.SGD([torch.zeros(1)]), "a checkpoint", 2)


def test_a_checkpoint_with_more_epochs_than_the_training(interrupted):
    _, checkpoint = interrupted
    tensors, state = read_checkpoint(checkpoint.read_bytes(), "a checkpoint")
    with pytest.raises(UserError, match="epochs_done does not fit the rest"):
        unpack(tensors, state, nn.Module(), torch.optim.SGD([torch.zeros(1)]), "a checkpoint", 0)


def test_a_checkpoint_that_is_no_safetensors_file(interrupted, run_here):
    folder, checkpoint = interrupted
    for content in (b"", b"forged", b"\x02" + bytes(7) + b"{}"):
        checkpoint.write_bytes(content)
        checkpoint.with_suffix(".sha256").write_text(sha256(checkpoint))
    (checkpoint.parent / "epoch-abc.sha256").touch()
    (checkpoint.parent / "epoch-9.safetensors").touch()
    end = run_here("binarize", folder, *arguments("binarize"))
    assert end.code == 0
    assert "epoch-0001.safetensors: is no checkpoint" in end.err
    assert end.err.splitlines()[0].endswith("; refused")


def test_no_room_for_a_checkpoint(make_workplace, run_here):
    folder = make_workplace()
    with largest_file(100_000):
        end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, "epoch-0001.safetensors: could not be written: File too large")
    assert_nothing_written(folder)


@contextlib.contextmanager
def small_disk(folder: Path, size: str):
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_model_that_was_there(make_workplace, run_here):
    """Room for one of its two files of weights; the next start needs no training."""
    folder = make_workplace()
    old = folder / TEACHER
    out = folder / "disk" / CELL
    with small_disk(folder / "disk", "1600k"):
        shutil.copytree(old, out, ignore=shutil.ignore_patterns("*.safetensors"))
        before = sorted(path.name for path in out.iterdir())
        end = run_here("binarize", folder, *arguments("binarize", out=f"disk/{CELL}"))
        assert_one_line(end, "last.safetensors: could not be written: No space left on device")
        assert sorted(path.name for path in out.iterdir()) == before
        assert [path.name for path in out.parent.iterdir()] == [CELL]
    end = run_here("binarize", folder, *arguments("binarize", out=f"disk/{CELL}"))
    assert end.code == 0
    assert "epoch" not in end.out
    assert (folder / "disk" / CELL / "model.json").exists()


def test_a_file_where_the_results_or_the_scratch_area_should_be(make_workplace, run_here):
    folder = make_workplace()
    (folder / "results").touch()
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, "results/digits/curves: could not be written: Not a directory")
    assert "epoch" not in end.out, "nothing is trained first"
    assert_nothing_written(folder)
    (folder / "results").unlink()
    (folder / f"results/digits/provenance/{CELL}.json").mkdir(parents=True)
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, f"results/digits/provenance/{CELL}.json: could not be written: it is a f")
    shutil.rmtree(folder / "results")
    (folder / ".scratch").touch()
    end = run_here("binarize", folder, *arguments("binarize"))
    assert_one_line(end, f".scratch/digits/{CELL}: could not be locked: ")


MEASURED = ("--model", TEACHER, "--reference", TEACHER, "--results", "results/digits")
OUT_OF_MEMORY = {
    "binarize": (
        arguments("binarize"),
        f"digits/{CELL}: batch_size is 32: out of GPU memory; lower batch_size, set compute.prec",
    ),
    "evaluate": (
        ["--params", "params.yaml", "--data", "data/digits", *MEASURED],
        f"{TEACHER}: 256 test images at a time: out of GPU memory; free it of other processes, or",
    ),
}


@pytest.mark.parametrize("stage", OUT_OF_MEMORY)
def test_out_of_gpu_memory(make_workplace, run_here, monkeypatch, stage):
    """There is no GPU to fill here: the network raises what torch raises then."""
    folder = make_workplace()
    forward = ResNet20.forward

    def no_memory_for_a_batch(network, images):
        if len(images) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(network, images)

    monkeypatch.setattr(ResNet20, "forward", no_memory_for_a_batch)
    given, expected = OUT_OF_MEMORY[stage]
    assert_one_line(run_here(stage, folder, *given), expected)
    assert_nothing_written(folder)


@pytest.mark.parametrize("stage", OUT_OF_MEMORY)
def test_out_of_memory(make_workplace, run_here, monkeypatch, stage):
    folder = make_workplace()
    forward = ResNet20.forward

    def needs_a_petabyte_for_a_batch(network, images):
        if len(images) > 1:
            torch.empty(2**50)
        return forward(network, images)

    monkeypatch.setattr(ResNet20, "forward", needs_a_petabyte_for_a_batch)
    given, expected = OUT_OF_MEMORY[stage]
    assert_one_line(run_here(stage, folder, *given), expected.replace("GPU memory", "memory"))
    assert_nothing_written(folder)


@pytest.mark.slow
def test_a_second_run_of_the_same_cell_is_refused(make_workplace, run_here):
    folder = make_workplace(overrides={"student.epochs": 1000})
    first = start_stage("binarize", folder, folder / "log")
    try:
        while not list(folder.glob(f".scratch/digits/{CELL}/*/epoch-*.sha256")):
            assert first.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        end = run_here("binarize", folder, *arguments("binarize"))
        assert_one_line(end, f".scratch/digits/{CELL}: another process is training this run; wait")
        assert first.poll() is None, "the first one goes on"
        first.send_signal(signal.SIGTERM)
        assert first.wait(120) == EXIT_CODE
    finally:
        first.kill()
        first.wait()
    assert not (folder / STUDENT).exists()


@pytest.mark.parametrize("loss", ["distillation", "mimicking"])
def test_a_loss_that_needs_a_teacher_takes_no_part_in_fine_tuning(tmp_path, run_here, loss):
    end = run_here("finetune", tmp_path, *arguments("finetune", losses=("cross_entropy", loss)))
    assert end.code == 2
    assert f"--losses: invalid choice: '{loss}'" in end.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"network": "resnet50"}, "--network: invalid choice: 'resnet50'"),
        ({"losses": ("cross_entropy", "wdm")}, "--losses: invalid choice: 'wdm'"),
        ({"seed": "one"}, "--seed: 'one' is no whole number from 0 to 4294967295"),
        ({"seed": -1}, "--seed: '-1' is no whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed: '4294967296' is no whole number from 0"),
        ({"seed": "9" * 5000}, "--seed: '999999999999...9999999999999' is no whole number from 0"),
        ({"row": "../../../x"}, "--row: invalid choice: '../../../x'"),
        ({"row": "full-precision"}, "--row: invalid choice: 'full-precision'"),
        ({"row": "nonsense"}, "--row: invalid choice: 'nonsense'"),
    ],
)
def test_a_value_that_an_option_does_not_allow(tmp_path, run_here, changes, expected):
    end = run_here("binarize", tmp_path, *arguments("binarize", **changes))
    assert end.code == 2
    assert f"error: argument {expected}" in end.err


def test_an_out_of_one_part_keeps_to_the_scratch_area(make_workplace, run_here):
    folder = make_workplace()
    end = run_here("teacher", folder, *arguments("teacher", out="mine"))
    assert end.code == 0, end.err
    assert (folder / "mine/model.json").exists()
    left = [path.relative_to(folder) for path in folder.rglob("*.lock")]
    assert left == [Path(".scratch") / folder.name / "mine.lock"]


def test_an_out_that_holds_something_else_is_refused(make_workplace, run_here):
    folder = make_workplace()
    end = run_here("teacher", folder, *arguments("teacher", out="data"))
    assert_one_line(end, "data: holds digits, which no stage puts there, and would be replaced")
    assert (folder / "data/digits/manifest.json").exists()
