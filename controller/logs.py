"""One line per event: to the journal with its fields where there is one, else to stderr. Never waits in a loop."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

from controller.systemd import JOURNAL, PRIORITY, Journal, in_journal

MOST_LINES = 10_000


LEVELS = ("debug", "info", "warning", "error")


class _Formatter(logging.Formatter):
    """With the time, or, for a journal whose socket cannot be reached, with each line's priority."""

    def __init__(self, process: str, journal: bool) -> None:
        prefix = "" if journal else "%(asctime)s "
        super().__init__(f"{prefix}%(levelname)s {process}: %(message)s", "%H:%M:%S")
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not self._journal:
            return text
        return _prefixed(text, PRIORITY.get(record.levelno, 6))


def _prefixed(text: str, priority: int) -> str:
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


class Dropping(QueueHandler):
    """Drops lines that a blocked terminal or disk does not take, and says how many; never waits."""

    lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self.lost:
                text = f"{self.lost} lines were lost"
                self.queue.put_nowait(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))
                self.lost = 0
            self.queue.put_nowait(record)
        except Full:
            self.lost += 1


def _stop(listener: QueueListener) -> None:
    """Let the thread write what it has, but do not wait for a blocked stderr."""
    with contextlib.suppress(Full):
        listener.enqueue_sentinel()
        thread = listener._thread  # noqa: SLF001  QueueListener.stop would join without a bound
        if thread is not None:
            thread.join(2.0)


def fields(**named: object) -> dict[str, object]:
    """`extra` of a log call: in the journal, `state` is found as PI0_STATE."""
    return {"fields": named}


def complain(text: str) -> None:
    """Say on stderr why a program does not start; as an error, where that is the journal."""
    print(_prefixed(text, PRIORITY[logging.ERROR]) if in_journal() else text, file=sys.stderr)


def set_level(level: str) -> None:
    logging.getLogger().setLevel(level.upper())


def set_up_logging(level: str, process: str, *, in_thread: bool = False) -> None:
    """Once per process. in_thread: a thread writes to stderr, so that a slow disk never holds up the caller's loop."""
    journal = in_journal()
    if journal and JOURNAL.exists():
        handler: logging.Handler = Journal(f"pi0-{process.replace(' ', '-')}", process=process)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter(process, journal))
        if in_thread:
            lines: Queue[logging.LogRecord] = Queue(MOST_LINES)
            listener = QueueListener(lines, handler)
            listener.start()
            atexit.register(_stop, listener)
            handler = Dropping(lines)
    root = logging.getLogger()
    root.handlers[:] = [handler]  # basicConfig would give the queue a formatter of its own
    set_level(level)
    for library in ("aiohttp", "websockets", "transitions", "OpenGL"):
        logging.getLogger(library).setLevel(logging.WARNING)
