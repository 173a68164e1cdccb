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
        UserError: a training runs, in which case nothing is removed; or the area cannot be removed.
    """
    if SCRATCH.is_symlink() or (SCRATCH.exists() and not SCRATCH.is_dir()):
        raise UserError(f"{SCRATCH}: is no folder of this project; remove it by hand")
    try:
        with contextlib.ExitStack() as held:
            for path in sorted(SCRATCH.rglob("*.lock")):
                if path.is_file():
                    held.enter_context(filelock.FileLock(path).acquire(timeout=0))
            if SCRATCH.exists():
                shutil.rmtree(SCRATCH)
    except filelock.Timeout as error:
        raise UserError(f"{error.lock_file}: a training holds it; wait or stop it") from None
    except OSError as error:
        raise UserError(f"{SCRATCH}: could not be removed: {error.strerror}") from error


if __name__ == "__main__":
    run(main)
