"""Numbers on the command lines of the benchmarks."""

import argparse
import re
import reprlib
from collections.abc import Callable


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of an option that takes a whole number from `lowest` to 99999."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,5}", text) or int(text) < lowest:
            shown = reprlib.repr(text)
            raise argparse.ArgumentTypeError(f"{shown} is no whole number from {lowest} to 99999")
        return int(text)

    return read
