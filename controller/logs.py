"""Logging to stderr, one line per event, fit for journald: it adds the time itself, we add the priority."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

MOST_LINES = 10_000

PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Formatter(logging.Formatter):
    def __init__(self, process: str, journal: bool) -> None:
        prefix = "" if journal else "%(asctime)s "
        super().__init__(f"{prefix}%(levelname)s {process}: %(message)s", "%H:%M:%S")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        priority = PRIORITY.get(record.levelno, 6)
        return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


class _Dropping(QueueHandler):
    """Drops lines that a blocked terminal or journal does not take; never waits."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Full):
            self.queue.put_nowait(record)


def _stop(listener: QueueListener) -> None:
    """Let the thread write what it has, but do not wait for a blocked stderr."""
    with contextlib.suppress(Full):
        listener.enqueue_sentinel()
        thread = listener._thread  # noqa: SLF001  QueueListener.stop would join without a bound
        if thread is not None:
            thread.join(2.0)


def set_up_logging(level: str, process: str, *, in_thread: bool = False) -> None:
    """Once per process. Under systemd (JOURNAL_STREAM) lines carry a priority instead of the time.

    in_thread: a thread writes the lines, so that a slow disk or journal never holds up the caller's loop.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(process, "JOURNAL_STREAM" in os.environ))
    if in_thread:
        lines: Queue[logging.LogRecord] = Queue(MOST_LINES)
        listener = QueueListener(lines, handler)
        listener.start()
        atexit.register(_stop, listener)
        handler = _Dropping(lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]  # basicConfig would give the queue a formatter of its own
    root.setLevel(level.upper())
    for library in ("aiohttp", "websockets", "transitions", "OpenGL"):
        logging.getLogger(library).setLevel(logging.WARNING)
