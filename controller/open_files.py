"""The limit on open files: raised as far as is allowed; a daemon that could not live under it does not start.

Without this, what runs out first decides how the start fails, and shared memory may be left behind.
"""

from __future__ import annotations

import resource

NEEDED = 256
"""A supervisor with four cameras has 70 files open, and some more for each operator that is connected."""


def shortage() -> str:
    """See to it that NEEDED files can be opened, by children too. Empty, or why that is impossible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= NEEDED:
        return ""
    if hard != resource.RLIM_INFINITY and hard < NEEDED:
        return f"the limit on open files is {hard}, a daemon needs {NEEDED}: raise it (LimitNOFILE=, ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (NEEDED, hard))
    return ""
