"""A user's mistake, told in one line."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path


class UserError(Exception):
    """Bad input: the message names the key or file, what was found and what is allowed."""


def run(main: Callable[[], None]) -> None:
    """Run a command; a UserError ends it with one line on stderr and exit code 1.

    Ctrl-C ends it with one line too, and by its signal, so that a shell's loop ends as well.
    """
    try:
        main()
    except UserError as error:
        line = f"error: {error}"
        _tell_torchrun(line)
        sys.stderr.write(f"{line}\n")  # at once: processes of one launcher share stderr
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _tell_torchrun(line: str) -> None:
    """Under torchrun, have `line` repeated in the summary it ends with."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        message = {"message": line, "extraInfo": {"timestamp": str(int(time.time()))}}
        Path(path).write_text(json.dumps({"message": message}))
