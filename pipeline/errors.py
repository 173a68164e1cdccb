"""A user's mistake, told in one line."""

import contextlib
import errno
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes long to import, and most errors are not of its kind
    from pydantic import ValidationError

LONGEST_LINE = 4000
"""Characters of an error that are printed; the rest is cut."""


class UserError(Exception):
    """Bad input: the message names the key or file, what was found and what is allowed."""


def run(main: Callable[[], None]) -> None:
    """Run a command; a UserError ends it with one line on stderr and exit code 1.

    Running out of memory ends it in the same way, as does an output that nobody reads or that has
    no room left. Ctrl-C also ends it with one line, but by its signal, so that a shell's loop ends
    as well.
    """
    if signal.getsignal(signal.SIGINT) is end_interrupted:  # from now on there is work to clean up
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may not fit the terminal's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        main()
        if sys.stdout is not None:  # a shell can close it
            sys.stdout.flush()
    except (UserError, MemoryError, OSError) as error:
        if isinstance(error, UserError):
            reason = str(error)
        elif isinstance(error, MemoryError):
            reason = f"out of memory ({error})"
        elif error.errno in (errno.EPIPE, errno.ENOSPC) and error.filename is None:
            reason = f"the output could not be written: {error.strerror}"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes it once more at exit
        else:
            raise
        line = one_line(f"error: {reason}")
        _tell_torchrun(line)
        sys.stderr.write(f"{line}\n")  # one write: processes of one launcher share stderr
        sys.exit(1)
    except KeyboardInterrupt:
        end_interrupted()


def one_line(text: str) -> str:
    """Escape whatever splits or colours a line of a terminal, and cut to LONGEST_LINE characters.

    Names of files and values of parameters may hold newlines and control characters, each of which
    is shown as its escape sequence.
    """
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:LONGEST_LINE]
    )
    return shown if len(text) <= LONGEST_LINE else f"{shown}... ({len(text)} characters)"


def first_problem(error: "ValidationError") -> str:
    """The first problem that pydantic found: "key: message", or the message if no key has it."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def end_interrupted(*_: object) -> None:
    """Print one line and end this process by SIGINT, as Ctrl-C does; it is also the handler."""
    sys.stderr.write("interrupted\n")
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _tell_torchrun(line: str) -> None:
    """Have torchrun, if it started this process, repeat `line` in its closing summary."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        message = {"message": line, "extraInfo": {"timestamp": str(int(time.time()))}}
        with contextlib.suppress(OSError):  # the line is on stderr anyway
            Path(path).write_text(json.dumps({"message": message}))
