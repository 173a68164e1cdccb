"""Look at the machinery: run every stage of the digits but the report, at its smallest.

It runs in a temporary folder on two batches an epoch, and what it prints is marked as no result.

reads   the working tree
writes  nothing that stays
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UserError, run
from tools.accept import DIGITS, ROOT, copy_tree, start


def main() -> None:
    """Entry point of `make look`."""
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        params = {**DIGITS.params, "debug": {"batches": 2}}
        # torch leaves an empty folder among the temporary files
        chain = replace(DIGITS, params=params, environment={"TMPDIR": folder})
        side = Path(folder) / "tree"
        copy_tree(side)
        with start(chain, side, None) as process:
            assert process.stdout
            for line in process.stdout:
                print(line, end="", flush=True)
        if process.returncode:
            raise UserError("a stage failed, see above")
        command = [sys.executable, "-m", "tools.headline", "results/digits"]
        subprocess.run(command, cwd=side, check=True)


if __name__ == "__main__":
    run(main)
