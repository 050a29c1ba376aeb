"""Exit codes: of pi0ctl, of the daemon, and of its children."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What pi0ctl tells the shell."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    FAULT = 4
    TIMEOUT = 5
    INTERRUPTED = 130


class DaemonExit(IntEnum):
    """What the daemon tells systemd; the unit starts it again after FAILED, and after a signal. Wrong usage is 2."""

    DONE = 0
    FAILED = 1
    """Another start may succeed: another daemon has the socket, shared memory cannot be had."""
    RIGHTS = 77
    """A child's only: a right that the configuration requires was refused."""
    CONFIG = 78
    """EX_CONFIG: file, adapters, rights, limits or the socket's place do not allow it until somebody changes them."""
