"""Keep glibc from giving a message's memory back to the kernel after every message.

By default glibc maps a fresh block for every message of 0.6 MB and unmaps it afterwards; the page faults then
cost more than the copying.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD = -1  # from glibc's malloc.h
_M_MMAP_THRESHOLD = -3
_THRESHOLD_BYTES = 32 * 1024 * 1024
"""The largest value that every glibc accepts; twice the largest message."""


def keep_large_blocks() -> bool:
    """Raise malloc's mmap and trim thresholds for this process. False where there is no glibc to tell."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
    trimmed = mallopt(_M_TRIM_THRESHOLD, _THRESHOLD_BYTES)
    return bool(mapped and trimmed)
