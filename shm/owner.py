"""Who owns a segment: the supervisor's process, told apart from any later process with the same pid."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

PREFIX = "pi0c"
_SEGMENT = re.compile(PREFIX + r"\.([1-9][0-9]*)\.([0-9]+)\.[A-Za-z0-9_.-]+")
_PROC = Path("/proc")
_DEAD_STATES = frozenset({"Z", "X"})  # a process that has ended and waits only for its parent to notice


@dataclass(frozen=True, slots=True)
class Owner:
    """One run of the supervisor.

    pid, start_ticks: its process (start in clock ticks after boot). uid: 64 random bits, new every time.
    """

    pid: int
    start_ticks: int
    uid: int

    @classmethod
    def current(cls) -> Owner:
        """This process, with a new uid."""
        pid = os.getpid()
        _, start_ticks = _stat(pid)
        return cls(pid, start_ticks, secrets.randbits(64))

    def segment(self, ring: str) -> str:
        """The name of this owner's segment for a ring."""
        return f"{PREFIX}.{self.pid}.{self.start_ticks}.{ring}"


def owner_of(segment: str) -> tuple[int, int] | None:
    """(pid, start_ticks) as a segment's name tells them; None if the name is not one of ours."""
    match = _SEGMENT.fullmatch(segment)
    return (int(match[1]), int(match[2])) if match else None


def is_alive(pid: int, start_ticks: int) -> bool:
    """Whether the process of that pid runs and is the one that started at start_ticks."""
    try:
        state, ticks = _stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return ticks == start_ticks and state not in _DEAD_STATES


def _stat(pid: int) -> tuple[str, int]:
    """Fields 3 (state) and 22 (start time in clock ticks after boot) of /proc/<pid>/stat, see proc(5)."""
    text = (_PROC / str(pid) / "stat").read_text()
    fields = text[text.rindex(")") + 2 :].split()  # the command before may hold blanks and brackets
    return fields[0], int(fields[19])
