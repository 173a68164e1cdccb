"""Remove the scratch area of this folder, unless a training uses it."""

import contextlib
import shutil
from pathlib import Path

import filelock

from pipeline.errors import UserError, run

SCRATCH = Path(".scratch")


def main() -> None:
    """Entry point of `make clean`.

    Raises:
        UserError: a training runs; nothing is removed then.
    """
    with contextlib.ExitStack() as held:
        for path in sorted(SCRATCH.rglob("*.lock")):
            try:
                held.enter_context(filelock.FileLock(path).acquire(timeout=0))
            except filelock.Timeout:
                raise UserError(f"{path}: a training holds it; wait or stop it") from None
        if SCRATCH.exists():
            shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    run(main)
