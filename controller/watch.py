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
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.live import Live

from controller.client import Client, DaemonUnreachable, RequestError, Status
from controller.refused import Refused
from controller.run_options import SPEED, Seam
from controller.screen import screen
from controller.summary import look_up

PERIOD_S = 0.2
ANSWER_TIMEOUT_S = 1.0
RECONNECT_S = 1.0
COMMAND_TIMEOUT_S = 10.0
KEPT_EVENTS = 100

NOT_KEYS = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O[A-Z])")
"""What arrows and function keys send: it contains letters that nobody pressed."""

COMMAND_KEYS = {"s": "stop", " ": "stop", "e": "estop"}
SEAM_KEYS = {str(key): seam.word for key, seam in enumerate(Seam, 1)}
SPEEDS = (SPEED[0], 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, SPEED[1])


def adjustment(key: str, status: Status | None) -> dict[str, Any]:
    """What a key changes in the run that the status shows; nothing for other keys."""
    if key in SEAM_KEYS:
        return {"seam": SEAM_KEYS[key]}
    speed = look_up(status, "run", "speed")
    if speed is None or key not in ("+", "-"):
        return {}
    if key == "+":
        return {"speed": next((step for step in SPEEDS if step > speed), SPEEDS[-1])}
    return {"speed": next((step for step in reversed(SPEEDS) if step < speed), SPEEDS[0])}


class Feed:
    """The newest status and events, kept up by two threads that outlive any number of daemons."""

    def __init__(self, client: Client) -> None:
        self.status: Status | None = None
        self.problem = "connecting"
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._client = client
        self._refreshing = threading.Lock()
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
                self.refresh()
            except (DaemonUnreachable, RequestError, TimeoutError) as error:
                self.problem = str(error)
            self._ended.wait(PERIOD_S)

    def refresh(self) -> None:
        """Take the status of this moment. Raises DaemonUnreachable, RequestError and TimeoutError."""
        with self._refreshing:  # an older answer never takes the place of a newer one
            self.status = self._client.status(ANSWER_TIMEOUT_S)
            self.problem = ""

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

    def __init__(self, client: Client, feed: Feed) -> None:
        self.notice = ""
        self._client, self._feed = client, feed
        self._adjusting = threading.Lock()

    def send(self, command: str) -> None:
        """Send without waiting for the answer."""
        self.notice = f"{command}: sent"
        threading.Thread(target=self._send, args=(command,), daemon=True).start()

    def adjust(self, key: str) -> None:
        """Send what a key changes in the run, without waiting.

        One at a time, each from a status that shows the one before: other keys meanwhile count for nothing. So no
        step is made from an old speed, and none overtakes another.
        """
        if self._adjusting.acquire(blocking=False):
            self.notice = "adjust: sent"
            threading.Thread(target=self._adjust, args=(key,), daemon=True).start()

    def _adjust(self, key: str) -> None:
        notice = "adjust: no run, no speed"
        try:
            if change := adjustment(key, self._feed.status):
                notice = self._outcome("adjust", **change)
                with suppress(DaemonUnreachable, RequestError, TimeoutError):  # the polling will say so
                    self._feed.refresh()
        finally:
            self._adjusting.release()
        self.notice = notice

    def _send(self, command: str) -> None:
        self.notice = self._outcome(command)

    def _outcome(self, command: str, **body: Any) -> str:
        try:
            self._client.command(command, COMMAND_TIMEOUT_S, **body)
        except Refused as refused:
            return f"{command} refused: {refused.reason}"
        except (DaemonUnreachable, RequestError, TimeoutError) as error:
            return f"{command} NOT CONFIRMED: {error}"
        return ", ".join([f"{command}: done", *(f"{key} {value}" for key, value in body.items())])


def watch(client: Client) -> None:
    """Draw until q is pressed. Needs a terminal on stdin and stdout."""
    console = Console()
    feed = Feed(client)
    commander = Commander(client, feed)
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
                    elif key in SEAM_KEYS or key in "+-":
                        commander.adjust(key)
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
