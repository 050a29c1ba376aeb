"""A real daemon with the real kit's adapter: on arms that nobody can reach, and on a fake driver in real time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from harness import Daemon, check_smooth, configuration, daemon, running_fast
from servers import server

pytestmark = pytest.mark.stack

FAKE_KIT = Path(__file__).parent.parent / "fake_kit"
KIT = {
    'kind = "sim"\nrate_hz': 'kind = "trossen"\nleft_ip = "127.0.0.1"\nright_ip = "127.0.0.2"\nrate_hz',
    "[robot.limits]": "[robot.trossen]\nconnect_timeout_s = 0.3\nstale_s = 0.3\n\n[robot.limits]",
    "-1.5698, -1.5698, -3.1406, 0.0]": "-1.5697, -1.5697, -3.1405, 0.0001]",
    "3.1406, 2.3552, 1.5698, 1.5698, 3.1406, 0.043]": "3.1405, 2.3551, 1.5697, 1.5697, 3.1405, 0.0398]",
    "0.0, 0.0, 0.04]": "0.0, 0.0, 0.039]",
}


@pytest.fixture
def fake_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE_KIT), os.environ.get("PYTHONPATH", "")]))


def test_arms_that_cannot_be_reached_are_a_fault_that_says_so(tmp_path: Path) -> None:
    path = configuration(tmp_path, "ws://127.0.0.1:9", **KIT)
    running = Daemon(path, tmp_path / "c.sock", tmp_path / "log").start()
    try:
        status = running.until("fault", lambda status: status["state"] == "fault")
        assert status["fault"]["code"] == "robot_error"
        assert "left arm (127.0.0.1): Failed to connect to the arm controller's TCP" in status["fault"]["message"]
        assert "right arm (127.0.0.2): Failed to connect" in running.log.read_text()
        assert running.stop() == 0
    finally:
        running.kill_group()


@pytest.mark.usefixtures("fake_kit")
def test_the_kit_homes_runs_stops_and_ends(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url, **KIT) as running:
        tap = running_fast(running)
        running.client.command("stop", 10.0)
        check_smooth(tap.watch(0.3))
        status = running.status()
        assert status["robot"]["temperature"]["hottest_celsius"] == 33.0
        assert status["robot"]["contact"] == "watched"
        assert np.abs(np.array(status["robot"]["q"]) - status["robot"]["q_command"]).max() < 0.01
        assert running.stop() == 0
        assert "arms held, robot closed" in running.log.read_text()


@pytest.mark.usefixtures("fake_kit")
def test_an_arm_that_fails_in_a_run_brakes_the_other_and_comes_back(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url, **KIT) as running:
        tap = running_fast(running)
        pid = running.pid_of("motor")
        (tmp_path / "right_arm").write_text("joint_overheated")
        fault = running.until("fault", lambda status: status["state"] == "fault")["fault"]
        assert fault["code"] == "robot_error"
        assert "right arm (127.0.0.2): error 10 joint_overheated (joint_4): a joint is too hot" in fault["message"]
        running.until("the end of the motor process", lambda status: status["processes"]["motor"]["pid"] != pid)
        rows = tap.drain()
        check_smooth(rows)
        assert (rows["qd_command"][-1] == 0.0).all(), "it was braked before the process ended"

        (tmp_path / "right_arm").unlink()
        running.until("reset allowed", lambda status: "reset" in status["allowed"])
        running.client.command("reset", 10.0)
        running.home()
