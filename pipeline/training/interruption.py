"""SIGINT and SIGTERM end a training between two steps; DVC takes the exit code as a failure.

A training whose DVC was killed goes on, because nobody asked it to stop. Nobody records its outputs
either: DVC removes them when it runs the stage again.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

from pipeline import PARENT

EXIT_CODE = 75
"""EX_TEMPFAIL: a partial model is never recorded as done, and running again resumes it."""


class Interruption:
    """Whether a signal asked this process to stop, and whether its parent is gone."""

    def __init__(self) -> None:
        self.requested = False

    @property
    def orphaned(self) -> bool:
        """Whether the process that started this one has ended before it.

        That is DVC, unless a launcher that outlives it stands between.
        """
        return os.getppid() != PARENT

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM inside the block instead of dying from them."""
        previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.requested = True
