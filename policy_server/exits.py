"""The exit codes of `pi0-policy-server serve`; the unit starts it again after FAILED only."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the shell and systemd see. Wrong usage is 2, by argparse."""

    DONE = 0
    FAILED = 1
    """Another start may succeed: a port that is taken, a device without memory, a policy that hangs."""
    CONFIG = 78
    """EX_CONFIG: what was asked for cannot be served until somebody changes it."""
