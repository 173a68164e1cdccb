import contextlib
import os
import pty
import termios
import time

import pytest

from pipeline.training.progress import Progress

ROW = {"epoch": 3, "loss": 1.25, "train_top1": 0.5, "validation_top1": 0.75}


@contextlib.contextmanager
def terminal():
    """stderr on a real terminal; yields its other end."""
    outer, inner = pty.openpty()
    termios.tcsetwinsize(inner, (24, 120))
    with os.fdopen(inner, "w") as stream, contextlib.redirect_stderr(stream):
        yield outer
    os.close(outer)


def test_a_log_line_per_epoch_where_there_is_no_terminal(capsys, monkeypatch):
    progress = Progress("digits/cell", 10, shown=True)
    assert list(progress.bar(iter("ab"), 2, epoch=2, images=32)) == ["a", "b"]
    assert not progress.wants_values
    started = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: started + 4)
    progress.epoch(ROW, 1234.5)
    shown = capsys.readouterr()
    assert shown.err == ""
    line, left = shown.out.rsplit(", ", 1)
    assert line == (
        "digits/cell epoch 3/10: loss 1.2500, train 50.00 %, validation 75.00 %, 1234 images/s"
    )
    assert left == "28 s left\n", "4 s for the one epoch since a resumed training began, 7 to go"


def test_other_processes_keep_quiet(capsys):
    progress = Progress("digits/cell", 10, shown=False)
    with terminal() as screen:
        assert list(progress.bar(iter("ab"), 2, epoch=2, images=32)) == ["a", "b"]
        progress.epoch(ROW, 1234.5)
        os.set_blocking(screen, False)
        with pytest.raises(BlockingIOError):
            os.read(screen, 1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal():
    progress = Progress("digits/cell", 10, shown=True)
    with terminal() as screen:
        for number, _ in enumerate(progress.bar(iter("abcd"), 4, epoch=2, images=32), start=1):
            assert not progress.wants_values, "the bar has just been drawn"
            time.sleep(0.15)
            assert progress.wants_values
            progress.values(loss=1.5 / number, top1=number / 8)
        assert not progress.wants_values
        shown = os.read(screen, 100_000).decode()
    assert "digits/cell 3/10:" in shown
    assert "32/128" in shown
    assert "images/s" in shown
    assert "loss 0.7500, top-1 25.0 %" in shown
