"""SIGINT and SIGTERM end a training between two steps; DVC takes the exit code as a failure."""

import contextlib
import signal
from collections.abc import Iterator

EXIT_CODE = 75
"""EX_TEMPFAIL: a partial model is never recorded as done, and running again resumes it."""


class Interruption:
    """Whether a signal asked this process to stop."""

    def __init__(self) -> None:
        self.requested = False

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
