"""A bring-up of the simulated kit by a person who answers through a pipe: the last jog, home, dry, slow, full speed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import Tap, check_smooth, daemon
from servers import server

from controller.bringup import steps
from controller.bringup.history import CONFIRMED, Entry, History, named
from controller.config import load
from controller.config_robot import both_arms

pytestmark = pytest.mark.stack

LAST = steps.JOGS[-1]


@pytest.mark.long
def test_a_robot_is_brought_up_step_by_step(tmp_path: Path) -> None:
    history = History(tmp_path / "bring-up.jsonl")
    with server() as url, daemon(tmp_path, url) as running:
        status = running.until("the policy is there", lambda status: status["policy"]["connected"])
        about = {"robot": "sim", "config": named(status), "version": status["version"]}
        for step in steps.STEPS[1 : steps.STEPS.index(LAST)]:
            history.add(Entry(step, CONFIRMED, **about))
        tap, homing = Tap(running.process.pid), load(running.config).robot.homing
        command = [
            sys.executable, "-m", "controller.cli", "--socket", str(running.socket), "bring-up", "--from", LAST,
            "--state", str(history.path), "--prompt", "test", "--for", "1.5",
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as person:
            assert person.stdin is not None
            assert person.stdout is not None
            person.stdin.write("y\n" * 100)
            person.stdin.close()
            while person.poll() is None:
                tap.watch(0.5)
            out = person.stdout.read()
        assert person.returncode == 0, out
        status = running.status()
        assert (status["state"], status["homed"], status["fault"]) == ("idle", True, None)

    done = [entry for entry in history.entries() if entry.step not in steps.JOGS[:-1]]
    assert {entry.result for entry in done} == {CONFIRMED}
    assert [entry.step for entry in done][-6:] == [steps.CHECKLIST, LAST, *steps.STEPS[-4:]]
    (jog,) = [entry for entry in done if entry.step == LAST]
    assert abs(jog.values["moved"] - jog.values["by"]) < 0.3 * abs(jog.values["by"])

    rows = tap.drain()
    check_smooth(rows)
    motions = [rows[rows["motion_id"] == motion_id] for motion_id in np.unique(rows["motion_id"]) if motion_id]
    there, back, home, *_ = motions
    for jogged in (there, back):
        speed = np.abs(jogged["qd_command"]).max(axis=0)
        assert speed[13] > 0.0
        assert (np.delete(speed, 13) == 0.0).all(), "no other joint is commanded to move"
        assert speed[13] <= 1.01 * 0.1 * homing.velocity[6]
    np.testing.assert_allclose(back[-1]["q_command"], there[0]["q_command"], atol=1e-4)
    assert (np.abs(home["qd_command"]) <= 1.01 * 0.2 * both_arms(homing.velocity)).all()
