"""A user's mistake, told in one line."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Bad input: the message names the key or file, what was found and what is allowed."""


def run(main: Callable[[], None]) -> None:
    """Run a command; a UserError ends it with one line on stderr and exit code 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
