"""A look at what a daemon commands, tick by tick, and what must hold of it."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from controller import layout
from controller.board import specs
from controller.config import load, shipped
from shm.reader import Reader

SHM = Path("/dev/shm")
JOINTS_RING = next(spec for spec in specs(load(shipped("sim"))) if spec.name == "joints")
WAIT_S = 40.0
"""Watchdog of the waits: a loaded machine may be slow, a hang must end."""


def wait_for(what: str, test: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Poll until `test` gives something true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := test():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"not within {timeout_s:g} s: {what}")


class Tap:
    """Every motor tick of a daemon, read from outside without attaching: a plain read-only mapping."""

    def __init__(self, pid: int, shm: Path = SHM) -> None:
        """shm: where the daemon's /dev/shm is seen from here."""
        path = wait_for("joints ring", lambda: next(shm.glob(f"pi0c.{pid}.*.joints"), None))
        self.spec = JOINTS_RING
        with path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        self.words = whole.cast("Q")
        size_b = layout.JOINTS.itemsize
        starts = [self.spec.record_b(slot) for slot in range(self.spec.slots)]
        self.slots = [whole[start : start + size_b] for start in starts]
        self.reader = Reader(self)  # type: ignore[arg-type]
        self._record = np.zeros((), layout.JOINTS)
        self.rows: list[np.ndarray[Any, Any]] = []

    def drain(self) -> np.ndarray[Any, Any]:
        """All rows since the tap was made; call at least once a second."""
        while self.reader.next(self._record):
            self.rows.append(self._record.copy())
        return np.array(self.rows) if self.rows else np.zeros(0, layout.JOINTS)

    def watch(self, seconds: float) -> np.ndarray[Any, Any]:
        """Drain for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.drain()
            time.sleep(0.05)
        return self.drain()

    def until_moving(self) -> None:
        """Wait until the arms are commanded at speed."""
        wait_for("motion", lambda: (rows := self.drain()).size and np.abs(rows[-1]["qd_command"]).max() > 0.2)


def check_smooth(rows: np.ndarray[Any, Any]) -> None:
    """No command steps: between two ticks it moves no farther than its velocities say, plus a hair."""
    dt_s = np.diff(rows["t_command_ns"])[:, None] * 1e-9
    step = np.abs(np.diff(rows["q_command"], axis=0))
    speed = np.maximum(np.abs(rows["qd_command"][1:]), np.abs(rows["qd_command"][:-1]))
    assert (step <= speed * dt_s + 2e-3).all(), f"largest unexplained step {(step - speed * dt_s).max():.5f}"


def rest_after_ms(rows: np.ndarray[Any, Any], t_event_ns: int) -> float:
    """Time from the event to the first command at rest."""
    after = rows[rows["t_command_ns"] >= t_event_ns]
    resting = (after["qd_command"] == 0.0).all(axis=1)
    assert resting.any(), "the arms did not come to rest"
    first = int(np.argmax(resting))
    assert resting[first:].all(), "the arms moved again"
    return float(after["t_command_ns"][first] - t_event_ns) * 1e-6
