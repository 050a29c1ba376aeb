"""The collision guard in a real daemon: what it stops, and what happens to a motion without it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from harness import Daemon, Tap, check_smooth, daemon, wait_for
from servers import HOME, answering, server, sway

from policy_server import kinematics, tabletop

pytestmark = pytest.mark.stack


def into_the_table() -> np.ndarray:
    """Home, but with the left tool point 5 cm below the table's top."""
    q = HOME.copy()
    where = np.array((0.0, 0.12, -0.03))
    q[:6] = kinematics.inverse(tabletop._hand("left", where, 1.2, 0.0), tabletop._guess("left", where))  # noqa: SLF001
    return q


def running_fast(running: Daemon) -> Tap:
    tap = Tap(running.process.pid)
    running.home()
    running.run()
    running.moving(tap)
    return tap


def faulted(running: Daemon, code: str) -> str:
    fault = running.until("fault", lambda status: status["state"] == "fault")["fault"]
    assert fault["code"] == code
    return str(fault["message"])


def test_a_policy_that_leads_into_the_table_is_stopped_above_it(tmp_path: Path) -> None:
    turned = threading.Event()
    goal = into_the_table()

    def actions(request: dict) -> np.ndarray:
        if not turned.is_set():
            return sway(request)
        share = np.linspace(0.0, 1.0, 50)[:, None]
        start = np.asarray(request["state"], dtype=float)
        return start + share * (goal - start)

    with server(answering(actions)) as url, daemon(tmp_path, url, guard=True) as running:
        tap = running_fast(running)
        wait_for("looks", lambda: running.status()["guard"]["checks"] > 20)
        turned.set()
        message = faulted(running, "collision_ahead")
        assert message.startswith("collision ahead: left ")
        assert "mm apart (bound" in message
        rows = tap.watch(0.5)
        check_smooth(rows)
        # the tool point of the last command is still above the table by more than the fingers reach beyond it
        tool = tabletop.to_world("left", kinematics.forward(rows[-1]["q_command"][:6]).position)
        assert tool[2] > tabletop.TABLE_TOP_M + tabletop.FINGER_BEYOND_TOOL_M
        running.until("reset allowed", lambda status: "reset" in status["allowed"])
        running.client.command("reset", 10.0)
        turned.clear()
        running.home()  # away from where it was stopped
        guard = running.status()["guard"]
        print(f"{message}; a look took {guard['check_ms']} ms, at most {guard['check_max_ms']} ms")


@pytest.mark.raises_fault("guard_lost", "running")
@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGKILL, "signal 9"),
        pytest.param(signal.SIGSTOP, "it has not looked at motion", marks=pytest.mark.long),
    ],
)
def test_without_its_guard_motion_ends(tmp_path: Path, number: signal.Signals, told: str) -> None:
    with server() as url, daemon(tmp_path, url, guard=True) as running:
        tap = running_fast(running)
        pid = running.pid_of("guard")
        os.kill(pid, number)
        assert told in faulted(running, "guard_lost")
        check_smooth(tap.watch(0.5))
        running.until("another guard", lambda status: status["processes"]["guard"]["pid"] not in (pid, None))
        running.until("reset allowed", lambda status: "reset" in status["allowed"])
        running.client.command("reset", 10.0)
        running.home()


@pytest.mark.raises_fault("guard_lost", "homing")
def test_without_its_guard_homing_ends(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url, guard=True) as running:
        tap = Tap(running.process.pid)
        running.client.command("home", 10.0)
        running.moving(tap)
        os.kill(running.pid_of("guard"), signal.SIGKILL)
        assert "signal 9" in faulted(running, "guard_lost")
        check_smooth(tap.watch(0.5))


@pytest.mark.raises_fault("guard_lost", "idle")
def test_a_guard_that_is_lost_in_idle_is_no_fault_but_nothing_moves_without_it(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url, guard=True) as running:
        pid = running.pid_of("guard")
        os.kill(pid, signal.SIGKILL)
        running.until("home refused", lambda status: "not ready: guard" in status["refusals"].get("home", ""))
        running.until("another guard", lambda status: status["processes"]["guard"]["pid"] not in (pid, None))
        status = running.until("home allowed", lambda status: "home" in status["allowed"])
        assert status["state"] == "idle"
        running.home()


def test_a_guard_that_is_off_is_said_and_not_missed(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        status = running.status()
        assert status["guard"] == {"enabled": False}
        assert "guard" not in status["processes"]
        running_fast(running)
        running.client.command("stop", 10.0)
