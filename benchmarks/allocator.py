"""What malloc does with the memory of freed tensors."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Options of mallopt, from glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Have glibc's malloc keep what is freed for the next tensor; without glibc do nothing.

    Loops that take turns in one process leave holes in each other's heap. Tensors of megabytes then
    go back to the system and are fetched from it anew, page by page, in each step: kurtosis loss
    and WDM, which in a training of its own find their memory ready, took 40 % longer.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
