"""Which folders are searched for images."""

from collections.abc import Sequence

SPLITS = ("train", "val", "test")
"""Folders that hold the classes."""
DEEPEST = 100
"""Folders above one another, which is far more than anyone sorts images into."""


def why_not(target: object, above: Sequence[object]) -> str | None:
    """Why a folder is not searched, or None if it is.

    Args:
        target: its path without symbolic links.
        above: those of the folders through which it was reached.
    """
    if target in above:
        return "is a symbolic link to a folder above it"
    if len(above) >= DEEPEST:
        return f"lies more than {DEEPEST} folders deep"
    return None
