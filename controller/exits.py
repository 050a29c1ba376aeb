"""pi0ctl's exit codes."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    FAULT = 4
    TIMEOUT = 5
    INTERRUPTED = 130
