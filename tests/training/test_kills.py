"""Trainings killed at random moments, again and again, end in the bytes of one left alone.

`pytest tests/training/test_kills.py --kills 34` kills 102 times and prints what it hit.
"""

import collections
import contextlib
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pipeline.training.interruption import EXIT_CODE
from tests.training.conftest import STUDENT, TEACHER, start_stage
from tests.training.test_distributed import TORCHRUN
from tests.training.test_resume import final_files

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EPOCHS = 6
SECONDS = 900
"""Patience with a busy machine."""


class Training:
    """One start after another of the same training, of which `out` names the model."""

    def __init__(self, folder: Path, out: str, stage: str, launcher: dict) -> None:
        self.folder = folder
        self.out = folder / out
        self._stage = stage
        self._launcher = launcher

    def start(self) -> subprocess.Popen:
        return start_stage(self._stage, self.folder, self.folder / "log", **self._launcher)

    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def make_training(request, make_workplace, streamed, monkeypatch):
    """Makes a training of the kind asked for in a folder of its own."""

    def make(kind: str, name: str) -> Training:
        if kind == "streamed":
            monkeypatch.setenv("BDBNN_WORKERS", "2")
            return Training(streamed(name), TEACHER, "teacher", {})
        folder = make_workplace(name, {"student.epochs": EPOCHS})
        launcher = {"launcher": TORCHRUN} if kind == "two processes" else {}
        return Training(folder, STUDENT, "binarize", launcher)

    return make


def ranks_of(launcher: psutil.Process) -> list[psutil.Process]:
    """The processes that torchrun started, if it is one."""
    ranks = []
    for each in launcher.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            if "RANK" in each.environ():
                ranks.append(each)
    return ranks


def kill(process: subprocess.Popen, number: signal.Signals, draw: random.Random) -> None:
    """Send a signal; SIGKILL goes to one rank of torchrun's or to all with their launcher."""
    launcher = psutil.Process(process.pid)
    ranks = ranks_of(launcher)
    if number != signal.SIGKILL:
        process.send_signal(number)
    elif ranks and draw.random() < 0.5:
        draw.choice(ranks).kill()
    else:
        for each in (launcher, *ranks):
            each.kill()
        psutil.wait_procs(ranks, SECONDS)


def check_results(killed: Path, alone: Path) -> None:
    """Each result is that of the training left alone, and a table at least its first rows."""
    for name in final_files(killed):
        if "/." in name:
            continue
        found, expected = (killed / name).read_bytes(), (alone / name).read_bytes()
        if name.endswith(".csv"):
            assert expected.startswith(found), f"{name}: other rows"
            assert found.endswith(b"\n"), f"{name}: half a row"
        else:
            assert found == expected, f"{name}: half of a file, or another one"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one process", "streamed", "two processes"])
def test_killed_at_random_moments(make_training, request, capsys, kind):
    kills = request.config.getoption("--kills")
    alone = make_training(kind, "alone")
    begun = time.monotonic()
    assert alone.start().wait(SECONDS) == 0, alone.log()
    seconds = time.monotonic() - begun
    expected = final_files(alone.folder)
    draw = random.Random(kind)
    hit: collections.Counter[str] = collections.Counter()
    trainings = 0
    while hit.total() < kills:
        training = make_training(kind, f"killed-{trainings}")
        trainings += 1
        code = None
        while code != 0:
            process = training.start()
            if hit.total() == kills:
                assert process.wait(SECONDS) == 0, training.log()
                break
            try:
                code = process.wait(draw.uniform(0, seconds))
                assert code == 0, training.log()
            except subprocess.TimeoutExpired:
                number = draw.choice(SIGNALS)
                kill(process, number, draw)
                code = process.wait(SECONDS)
                when = "within" if " epoch " in training.log() else "before"
                hit[f"{number.name} {when} the epochs"] += 1
                if kind != "two processes":  # torchrun has its own code and shows a traceback
                    assert code in (-number, EXIT_CODE, 0), training.log()
                    assert "Traceback" not in training.log()
                check_results(training.folder, alone.folder)
        assert final_files(training.folder) == expected
        assert not (training.folder / ".scratch/digits" / training.out.name).exists()
        with capsys.disabled():
            print(f"{kind}: {trainings} trainings, {hit.total()} kills, {dict(hit)}", flush=True)
