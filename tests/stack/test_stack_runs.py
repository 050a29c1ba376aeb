"""How a run is played: dry, slower, with another seam, and with less than was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Tap, check_smooth, daemon
from servers import server

from controller.recording import META, Recording
from controller.refused import Refused

pytestmark = pytest.mark.stack


def all_but_homed(status: dict[str, Any]) -> bool:
    cameras = all(camera["at_rate"] for camera in status["cameras"].values())
    return cameras and status["policy"]["connected"] and status["refusals"]["run"] == "not homed; home first"


def test_a_dry_run_does_everything_but_move(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.until("only a home is missing", all_but_homed)
        running.client.command("run", 60.0, prompt="test", dry=True, speed=0.5)
        tap.drain()
        first, answers = len(tap.rows), running.status()["policy"]["answers"]
        rows = tap.watch(2.0)[first:]
        status = running.status()
        assert (status["state"], status["dry"], status["robot"]["mode"]) == ("running", True, "hold")
        assert len(rows) > 100
        assert (rows["q_command"] == rows["q_command"][0]).all(), "not a single command changes"
        assert (rows["qd_command"] == 0.0).all()
        assert status["policy"]["answers"] > answers, "the policy is asked all the while"
        assert status["control"]["phase"] in ("ramp", "follow")
        running.client.command("stop", 10.0)
        status = running.until("recorded", lambda status: not status["recorder"]["recording"])
        assert (status["state"], status["dry"], status["homed"]) == ("idle", False, False)

        (made,) = [Recording.load(meta.parent) for meta in (tmp_path / "rec").glob(f"*/{META}")]
        assert made.meta["options"]["dry"]
        ticks = made.ticks[made.ticks["motion_id"] == made.motion_id]
        assert ticks["dry"].all()
        assert np.ptp(ticks["q1"], axis=0).max() > 0.01, "the motion that would have been is recorded"

        running.home()
        running.run()
        running.moving(tap)
        check_smooth(tap.drain())


def test_a_run_is_adjusted_while_it_goes_on(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        with pytest.raises(Refused, match="adjust is not possible in state idle"):
            running.client.command("adjust", 5.0, speed=0.5)
        running.home()
        running.run(seam="switch")
        running.until("played with switch", lambda status: status["control"]["seam"] == "switch")
        running.moving(tap)
        running.client.command("adjust", 5.0, speed=0.3)
        running.until("slower", lambda status: status["control"]["speed"] == 0.3)
        running.client.command("adjust", 5.0, seam="ensemble", speed=1.0)
        wanted = ("ensemble", 1.0)
        running.until("adjusted", lambda s: (s["control"]["seam"], s["control"]["speed"]) == wanted)
        tap.watch(0.5)
        status = running.status()
        assert (status["state"], status["fault"]) == ("running", None)
        assert (status["run"]["seam"], status["run"]["speed"]) == wanted
        running.client.command("stop", 10.0)
        check_smooth(tap.drain())


def test_a_seam_that_the_server_does_not_offer_is_replaced_aloud(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        running.home()
        running.run(seam="rtc")
        run = running.status()["run"]
        assert (run["seam_asked"], run["seam"]) == ("rtc", "blend")
        assert run["seam_reason"] == "the policy server does not offer rtc"
        told = next(event for event in running.client.events(replay=True) if event["kind"] == "seam")
        assert told["text"] == "blend instead of rtc: the policy server does not offer rtc"
        running.client.command("stop", 10.0)
        log = running.log.read_text()
        assert "seam=blend asked=rtc: the policy server does not offer rtc" in log
