"""`pi0ctl watch`: the live screen, its keys, and the threads that keep it fed.

Runs in the operator's process. Must always hold: a key is obeyed even while the daemon does not answer, and
the screen then says so instead of showing old numbers as new ones.
"""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import threading
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from controller.client import Client, DaemonUnreachable, RequestError, Status
from controller.refused import Refused
from controller.screen import screen

PERIOD_S = 0.2
ANSWER_TIMEOUT_S = 1.0
RECONNECT_S = 1.0
COMMAND_TIMEOUT_S = 10.0
KEPT_EVENTS = 100

NOT_KEYS = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O[A-Z])")
"""What arrows and function keys send: it contains letters that nobody pressed."""

COMMAND_KEYS = {"s": "stop", " ": "stop", "e": "estop"}


class Feed:
    """The newest status and events, kept up by two threads that outlive any number of daemons."""

    def __init__(self, client: Client) -> None:
        self.status: Status | None = None
        self.problem = "connecting"
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._client = client
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin polling and listening."""
        for work in (self._poll, self._listen):
            threading.Thread(target=work, daemon=True).start()

    def end(self) -> None:
        """Let the polling end; the listener ends with the process."""
        self._ended.set()

    def _poll(self) -> None:
        while not self._ended.is_set():
            try:
                self.status = self._client.status(ANSWER_TIMEOUT_S)
                self.problem = ""
            except (DaemonUnreachable, RequestError, TimeoutError) as error:
                self.problem = str(error)
            self._ended.wait(PERIOD_S)

    def _listen(self) -> None:
        newest_ns = 0
        while not self._ended.is_set():
            try:
                for event in self._client.events(replay=True):
                    if event["t_ns"] > newest_ns:  # after a reconnection the replay repeats what is here
                        newest_ns = event["t_ns"]
                        self.events.append(event)
            except (DaemonUnreachable, RequestError):
                self._ended.wait(RECONNECT_S)


class Commander:
    """Sends the commands of keys, each in a thread of its own, and says what became of them."""

    def __init__(self, client: Client) -> None:
        self.notice = ""
        self._client = client

    def send(self, command: str) -> None:
        """Send without waiting for the answer."""
        self.notice = f"{command}: sent"
        threading.Thread(target=self._send, args=(command,), daemon=True).start()

    def _send(self, command: str) -> None:
        try:
            self._client.command(command, COMMAND_TIMEOUT_S)
            self.notice = f"{command}: done"
        except Refused as refused:
            self.notice = f"{command} refused: {refused.reason}"
        except (DaemonUnreachable, RequestError, TimeoutError) as error:
            self.notice = f"{command} NOT CONFIRMED: {error}"


def watch(client: Client) -> None:
    """Draw until q is pressed. Needs a terminal on stdin and stdout."""
    console = Console()
    feed, commander = Feed(client), Commander(client)
    feed.start()
    try:
        with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(_draw(console, feed, commander.notice), refresh=True)
                for key in _keys(PERIOD_S):
                    if key == "q":
                        return
                    if key in COMMAND_KEYS:
                        commander.send(COMMAND_KEYS[key])
    finally:
        feed.end()


def _draw(console: Console, feed: Feed, notice: str) -> Any:
    width, height = console.size
    return screen(feed.status, list(feed.events), problem=feed.problem, notice=notice, width=width, height=height)


def _keys(wait_s: float) -> str:
    """The keys pressed by now or, if none, within `wait_s`."""
    descriptor = sys.stdin.fileno()
    if not select.select([descriptor], [], [], wait_s)[0]:
        return ""
    pressed = os.read(descriptor, 64)
    if not pressed:
        raise KeyboardInterrupt  # the terminal is gone
    return NOT_KEYS.sub("", pressed.decode(errors="ignore"))


@contextmanager
def _single_keys() -> Iterator[None]:
    """Hand over each key at once and unseen; put the terminal back whatever happens."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
