"""A wake-up between processes: an eventfd, whose counter rises with every `set` and falls to 0 with `clear`.

Made by the supervisor, handed to children as a Process argument. Data never travels here: a wake says "look",
what is to be seen lies in a ring. So a lost or doubled wake costs time, never truth.
"""

from __future__ import annotations

import os
import select
from multiprocessing.reduction import DupFd
from typing import Any


class Wake:
    """Readable, for a selector or an asyncio loop, from `set` until `clear`."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def set(self) -> None:
        """Wake whoever waits, now or at the next wait."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> int:
        """Take the wakes back; return how many there were since the last clear. Never blocks."""
        try:
            return os.eventfd_read(self._fd)
        except BlockingIOError:
            return 0

    def wait(self, timeout_s: float) -> bool:
        """Whether it is set, after at most timeout_s (0 or less: at once). Leaves it set: call `clear`."""
        # select counts in us; poll and epoll round up to whole ms, which a control period cannot spare
        ready, _, _ = select.select((self._fd,), (), (), max(0.0, timeout_s))
        return bool(ready)

    def close(self) -> None:
        """Close this process's descriptor; those of other processes stay open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __getstate__(self) -> Any:
        return DupFd(self._fd)  # inside Process.start(): the child inherits the descriptor

    def __setstate__(self, duplicate: Any) -> None:
        self._fd = duplicate.detach()
