"""The programs that the demo starts, each in a session of its own, so that Ctrl-C reaches the demo alone.

They end with the demo however it ends: asked first, and by the kernel (PR_SET_PDEATHSIG) if it is killed.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

ENDS_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM", "--")
"""Before a command: the kernel ends it with its parent. (Python run between fork and exec could deadlock.)"""

PATIENCE_S = 10.0
TELL_S = 0.2
"""How often `waiting` is called."""

TAIL_LINES = 15


class ProgramError(RuntimeError):
    """A program did not do what the demo needs of it. The message has its last log lines."""


Waiting = Callable[[float], None]
"""Told the elapsed seconds, again and again, while a program is waited for."""


def _silently(_elapsed_s: float) -> None:
    pass


class Program:
    """One child process: stderr goes to its log, stdout to a pipe. `with` ends it."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*ENDS_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def line_with(self, word: str, timeout_s: float, waiting: Waiting = _silently) -> str:
        """The first line on its stdout that contains `word`. Raises ProgramError."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        began_s = time.monotonic()
        text = ""
        while (elapsed_s := time.monotonic() - began_s) < timeout_s:
            waiting(elapsed_s)
            if not select.select([descriptor], [], [], min(TELL_S, timeout_s - elapsed_s))[0]:
                continue
            part = os.read(descriptor, 4096)
            if not part:
                raise self.failure("ended before it was ready")
            text += part.decode(errors="replace")
            for line in text.split("\n")[:-1]:
                if word in line:
                    return line
        raise self.failure(f"was not ready within {timeout_s:g} s")

    def failure(self, what: str) -> ProgramError:
        """An error that says what this program did, with the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return ProgramError("\n    ".join([f"the {self.name} {what}; {self.log} ends:", *lines]))

    def finish(self, timeout_s: float, waiting: Waiting = _silently) -> None:
        """Wait until it has done its work. Raises ProgramError unless it ends in time with exit status 0."""
        began_s = time.monotonic()
        while not self.wait(TELL_S):
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > timeout_s:
                raise self.failure(f"did not end within {timeout_s:g} s")
            waiting(elapsed_s)
        if status := self._process.returncode:
            raise self.failure(f"ended with exit status {status}")

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended by itself in time."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        """Have it ended: SIGTERM, and SIGKILL for a program that does not listen."""
        if self.running:
            self._process.terminate()
            if not self.wait(PATIENCE_S):
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
