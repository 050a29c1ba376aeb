"""A fault of a real daemon leaves the seconds before it, the braking, and one emergency stop on top, all readable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import Tap, check_smooth, daemon, wait_for
from servers import server

from controller.dumps import dumps
from controller.follower import Mode
from controller.recording import Recording

pytestmark = pytest.mark.stack


def test_a_fault_in_a_run_leaves_its_last_seconds(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url, **{"[recorder]": "[recorder]\nenabled = false"}) as running:
        folder = Path(running.status()["recorder"]["faults"])
        assert folder == tmp_path / "rec" / "faults"
        tap = Tap(running.process.pid)
        running.home()
        running.run("put the lighter into the cup")
        running.moving(tap)
        os.kill(running.pid_of("link"), signal.SIGKILL)
        status = running.until("fault", lambda status: status["state"] == "fault")
        running.client.command("estop", 5.0)
        wait_for("both dumps", lambda: len(dumps(folder)) == 2)
        estop, lost = dumps(folder)
        assert (estop.fault["code"], lost.fault["code"]) == ("estop", "link_lost")
        told = {name: value for name, value in status["fault"].items() if name != "resettable"}
        assert told == {name: lost.fault[name] for name in told}
        assert lost.meta["prompt"] == "put the lighter into the cup"
        made = Recording.load(lost.directory)
        t_fault_ns, t_ns = lost.fault["t_ns"], made.joints["t_command_ns"]
        assert (made.joints["mode"][t_ns < t_fault_ns] == Mode.FOLLOW).any()
        braking = made.joints[made.joints["mode"] == Mode.BRAKE]
        assert len(braking) > 0
        assert (made.joints["mode"][-1], np.abs(made.joints["qd_command"][-1]).max()) == (Mode.HOLD, 0.0)
        check_smooth(made.joints)
        assert {event["kind"] for event in made.events} >= {"fault", "lost", "state"}
        assert len(made.chunks) > 1
        assert (made.chunks["n_steps"] == 50).all()
        assert set(made.chunks["chunk_id"]) >= set(made.handed["chunk_id"][1:])
        assert [path.name for path in folder.parent.iterdir()] == ["faults"], "motions are not recorded"
        command = [sys.executable, "-m", "controller.cli", "--socket", str(running.socket), "faults", "show", "latest"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
        assert shown.stdout.startswith("ESTOP: emergency stop: by ")
