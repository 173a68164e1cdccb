"""Where a path of the params file leads."""

import os
import re
from pathlib import Path

from pipeline.errors import UserError


def resolve(location: str, key: str = "data.location") -> Path:
    """Expand environment variables ($NAME and ${NAME}) in `location`, the value of `key`.

    Raises:
        UserError: one of them is not set.
    """
    for plain, braced in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", location):
        if (plain or braced) not in os.environ:
            raise UserError(
                f"{key} is {location!r}: the environment variable {plain or braced} is not set"
            )
    return Path(os.path.expandvars(location))
