"""`make look` runs for real: it says that it gives no result, and leaves nothing."""

import os
import subprocess
import sys

import pytest

from pipeline.names import BINARY_ROWS
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_row_is_run_and_nothing_is_left(tmp_path):
    def changes() -> str:
        return subprocess.check_output(["git", "status", "--short"], cwd=ROOT, text=True)

    before = changes()
    done = subprocess.run(
        [sys.executable, "-m", "tools.look"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    marked = next(line for line in done.stdout.splitlines() if "NO RESULT" in line)
    assert all(f"resnet20-{row}-1" in marked for row in BINARY_ROWS)
    assert changes() == before
    assert not any(tmp_path.iterdir())
