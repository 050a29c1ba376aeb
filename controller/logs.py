"""Logging to stderr, one line per event, fit for journald: it adds the time itself, we add the priority."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue

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


def set_up_logging(level: str, process: str, *, in_thread: bool = False) -> None:
    """Once per process. Under systemd (JOURNAL_STREAM) lines carry a priority instead of the time.

    in_thread: a thread writes the lines, so that a slow disk or journal never holds up the caller's loop.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(process, "JOURNAL_STREAM" in os.environ))
    if in_thread:
        lines: SimpleQueue[logging.LogRecord] = SimpleQueue()
        listener = QueueListener(lines, handler)
        listener.start()
        atexit.register(listener.stop)
        handler = QueueHandler(lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]  # basicConfig would give the queue a formatter of its own
    root.setLevel(level.upper())
    for library in ("aiohttp", "websockets", "transitions", "OpenGL"):
        logging.getLogger(library).setLevel(logging.WARNING)
