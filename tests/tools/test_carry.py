import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.distributed import World
from pipeline.errors import UserError
from pipeline.training.checkpoint import Scratch, read_checkpoint
from tests.conftest import ROOT
from tools import carry
from tools.use import use

ALONE = World(rank=0, size=1)
RUN = "long/resnet20-binary-1"


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Goes to one of two checkouts, of which the second gets what the first has committed."""
    monkeypatch.delenv("DVC_ROOT", raising=False)

    def go_to(name: str) -> None:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if name == "second" and (tmp_path / "first/checkpoints").exists():
            shutil.copytree(
                tmp_path / "first/checkpoints", folder / "checkpoints", dirs_exist_ok=True
            )
        monkeypatch.chdir(folder)

    return go_to


def train(*epochs: int, run: str = RUN, key: str = "key") -> None:
    with Scratch(run, key, ALONE) as scratch:
        for epoch in epochs:
            scratch.save(epoch, {"w": torch.tensor([float(epoch)])}, {"epochs_done": epoch})


def reached(key: str = "key") -> float | None:
    with Scratch(RUN, key, ALONE) as scratch:
        found = next(scratch.intact(), None)
    return found and read_checkpoint(found[1], str(found[0]))[0]["w"].item()


def test_a_training_goes_on_from_its_last_epoch_on_another_machine(machines):
    machines("first")
    train(1, 2, 3)
    folder = Path("checkpoints/long/resnet20-binary-1/key")
    assert carry.carry("long") == [folder / "epoch-0003.safetensors"]
    assert len(list(folder.iterdir())) == 2, "a checkpoint and its checksum"
    assert carry.carry("long") == []
    machines("second")
    assert reached() is None
    assert len(carry.restore("long")) == 1
    assert reached() == 3


def test_a_later_epoch_takes_the_place_of_the_one_carried(machines):
    machines("first")
    train(1)
    carry.carry("long")
    train(2)
    carry.carry("long")
    assert [path.name for path in Path("checkpoints").rglob("*.safetensors")] == [
        "epoch-0002.safetensors"
    ]


def test_an_epoch_that_is_later_here_stays(machines):
    machines("first")
    train(1)
    carry.carry("long")
    machines("second")
    train(1, 2)
    assert carry.restore("long") == []
    assert reached() == 2


def test_a_damaged_checkpoint_is_not_carried(machines):
    machines("first")
    train(1, 2)
    newest = Path(".scratch", RUN, "key/epoch-0002.safetensors")
    newest.write_bytes(newest.read_bytes()[:-1])
    os.mkfifo(newest.with_name("epoch-0003.sha256"))
    assert [path.name for path in carry.carry("long")] == ["epoch-0001.safetensors"]


def test_other_trainings_stay_until_they_have_ended(machines):
    machines("first")
    other = "long/resnet20-complete-1"
    train(1)
    train(1, run=other)
    carry.carry("long")
    machines("second")
    train(1)
    Path("models", RUN).mkdir(parents=True)
    carry.carry("long")
    assert {path.parent.name for path in Path("checkpoints/long").glob("*/*")} == {Path(other).name}


def test_an_unknown_table_is_named(machines, monkeypatch):
    machines("first")
    monkeypatch.setattr(sys, "argv", ["carry", "nothing"])
    with pytest.raises(UserError, match="table is 'nothing': allowed are digits"):
        carry.main()


RECIPE = """
stages:
  teacher:
    wdir: ../..
    cmd: mkdir -p models/small/teacher && date +%N > models/small/teacher/weights
    outs: [models/small/teacher]
  student:
    wdir: ../..
    cmd: >-
      mkdir -p models/small/student &&
      sed s/^/student-/ models/small/teacher/weights > models/small/student/weights
    deps: [models/small/teacher]
    outs: [models/small/student]
  other-student:
    wdir: ../..
    cmd: mkdir -p models/small/other && cp models/small/teacher/weights models/small/other/weights
    deps: [models/small/teacher]
    outs: [models/small/other]
  evaluate:
    wdir: ../..
    cmd: cp models/small/student/weights results.txt
    deps: [models/small/student]
    outs: [results.txt: {cache: false}]
"""


@pytest.fixture
def clones(tmp_path, monkeypatch):
    """Goes to a repository with the recipe, or to a fresh clone of what was committed there."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))

    def go_to(name: str) -> None:
        folder = tmp_path / name
        if (tmp_path / "first").exists():
            call("git", "add", "--all")
            call("git", "commit", "--quiet", "--message", "carried")
            call("git", "clone", "--quiet", str(tmp_path / "first"), str(folder))
            monkeypatch.chdir(folder)
        else:
            folder.mkdir()
            monkeypatch.chdir(folder)
            call("git", "init", "--quiet")
            call("git", "config", "user.name", "test")
            call("git", "config", "user.email", "test@example.org")
            call("dvc", "init", "--quiet")
            shutil.copy(ROOT / ".dvc/config", ".dvc/config")
            shutil.copy(ROOT / ".dvcignore", ".dvcignore")
            Path("tables/small").mkdir(parents=True)
            Path("tables/small/dvc.yaml").write_text(RECIPE)
            Path("tables/small/cells.yaml").write_text("table: small\n")
        use("small")

    return go_to


def call(*command: str) -> None:
    subprocess.run(command, check=True)


def repro(stage: str) -> None:
    call("dvc", "repro", "--quiet", "--single-item", f"tables/small/dvc.yaml:{stage}")


def test_a_trained_teacher_serves_students_on_another_machine(clones):
    clones("first")
    repro("teacher")
    repro("student")
    carry.push("small")
    assert len(list(Path("networks").rglob("*.dir"))) == 2
    weights = Path("models/small/teacher/weights").read_text()
    clones("second")
    carry.pull("small")
    repro("teacher")
    repro("student")
    repro("other-student")
    repro("evaluate")
    assert Path("models/small/other/weights").read_text() == weights, "nothing is trained again"
    assert Path("results.txt").read_text() == f"student-{weights}"


def test_what_another_machine_evaluated_is_not_trained_again(clones):
    clones("first")
    repro("teacher")
    repro("student")
    repro("evaluate")
    carry.push("small")
    results = Path("results.txt").read_text()
    clones("second")
    campaign = [sys.executable, "-m", "tools.campaign", "small"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(campaign, env=environment, check=True)
    assert Path("models/small/other/weights").exists(), "the rest of the table is trained"
    assert not Path("models/small/student").exists()
    assert Path("results.txt").read_text() == results
    Path("models/small/teacher/weights").unlink()
    Path("models/small/teacher").rmdir()
    subprocess.run(campaign, env=environment, check=True)
    assert Path("models/small/student").exists(), "a table that is whole is made anew"


def test_a_student_travels_until_it_is_evaluated(clones):
    clones("first")
    repro("teacher")
    repro("student")
    repro("evaluate")
    carry.push("small")
    clones("second")
    carry.pull("small")
    assert [path.name for path in Path("models/small").glob("*/")] == ["teacher"]


@pytest.mark.parametrize(
    ("pattern", "before", "after"),
    [
        ("*", "", "other weights"),
        ("*.dir", '"weights"', '"../../../weights"'),
    ],
)
def test_an_altered_network_is_not_pulled(clones, pattern, before, after):
    """Neither its weights nor a place outside of its folder are believed."""
    clones("first")
    repro("teacher")
    carry.push("small")
    clones("second")
    files = [path for path in Path("networks/files").rglob(pattern) if path.is_file()]
    altered = min(files, key=lambda path: path.suffix)
    altered.chmod(0o644)
    altered.write_text(altered.read_text().replace(before, after, 1))
    carry.pull("small")
    assert not list(Path("models").rglob("weights"))
    assert not (Path.cwd().parent / "weights").exists() and not Path("weights").exists()
    cached = [path.name for path in Path(".dvc/cache/files").rglob("*") if path.is_file()]
    assert altered.name not in cached


def test_a_network_that_is_nowhere_is_named(clones, capsys):
    clones("first")
    repro("teacher")
    clones("second")
    carry.push("small")
    assert capsys.readouterr().err == ("models/small/teacher: is not on this machine; not pushed\n")
    Path("networks").mkdir(exist_ok=True)
    carry.pull("small")
    assert capsys.readouterr().err == (
        "models/small/teacher: is missing or damaged in networks/; it is trained again\n"
    )


def test_a_network_that_was_pushed_needs_not_be_here(clones, capsys):
    clones("first")
    repro("teacher")
    carry.push("small")
    clones("second")
    carry.push("small")
    assert capsys.readouterr().err == ""


def test_a_carried_checkpoint_that_is_later_stays(machines):
    machines("first")
    train(1, 2, 3)
    carry.carry("long")
    shutil.rmtree(".scratch")
    train(1, 2)
    assert carry.carry("long") == []
    assert [path.name for path in Path("checkpoints").rglob("*.safetensors")] == [
        "epoch-0003.safetensors"
    ]


def test_epochs_are_numbers(machines):
    machines("first")
    train(9999)
    carry.carry("long")
    train(10000)
    assert [path.name for path in carry.carry("long")] == ["epoch-10000.safetensors"]
    shutil.rmtree(".scratch")
    train(9999)
    assert [path.name for path in carry.restore("long")] == ["epoch-10000.safetensors"]


def test_a_damaged_carried_checkpoint_is_named_and_replaced(machines, capsys):
    machines("first")
    train(1)
    (carried,) = carry.carry("long")
    carried.write_bytes(b"")
    shutil.copytree(".scratch", "kept")
    shutil.rmtree(".scratch")
    assert carry.restore("long") == []
    assert capsys.readouterr().err == f"{carried}: is damaged; refused\n"
    Path("kept").rename(".scratch")
    assert carry.carry("long") == [carried]
    assert carry.carry("long") == []


def test_files_among_the_carried_folders(machines):
    machines("first")
    folder = Path("checkpoints/long/resnet20-binary-1")
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    (folder.parent / "resnet20-complete-1").touch()
    train(1)
    assert len(carry.carry("long")) == 1
    train(1, run="long/resnet20-complete-1")
    with pytest.raises(UserError, match=r"resnet20-complete-1.*could not be written"):
        carry.carry("long")


def test_a_training_of_a_variant_is_carried(machines):
    machines("first")
    run = "study-variants/kurtosis.target=1.4/resnet20-complete-1"
    train(1, 2, run=run)
    assert carry.carry("study-variants") == [Path("checkpoints", run, "key/epoch-0002.safetensors")]
    machines("second")
    assert carry.restore("study-variants") == [Path(".scratch", run, "key/epoch-0002.safetensors")]
    Path("models", run).mkdir(parents=True)
    carry.carry("study-variants")
    assert not list(Path("checkpoints").rglob("epoch-*"))


def test_nothing_outside_of_the_carried_folder_is_touched(machines):
    machines("first")
    outside = Path("outside/key")
    train(1, 2)
    shutil.copytree(Path(".scratch", RUN, "key"), outside)
    link = Path("checkpoints", RUN)
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../outside"))
    with pytest.raises(UserError, match="is or lies in a link that leads out of checkpoints/long"):
        carry.carry("long")
    Path("models", RUN).mkdir(parents=True)
    assert carry.carry("long") == []
    assert len(list(outside.iterdir())) == 4


def test_a_folder_called_as_a_checkpoint_is_left_alone(machines):
    machines("first")
    train(2)
    carry.carry("long")
    Path("checkpoints", RUN, "key/epoch-0001").mkdir()
    train(3)
    assert [path.name for path in carry.carry("long")] == ["epoch-0003.safetensors"]
