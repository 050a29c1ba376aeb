"""The steps of a bring-up that move the arms or would: each is one command to the daemon, waited for and looked at.

Whoever stops waiting, by Ctrl-C, a signal or a closed terminal, has stopped the motion first.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from controller.bringup.judge import wrong_with
from controller.client import Client, Status
from controller.jog import Jog
from controller.robots.base import Vector
from controller.summary import fault_lines, look_up
from controller.waiting import STOP_TIMEOUT_S, StopOnLeaving, follow, run_for

JOG_SPEED, HOME_SPEED = 0.1, 0.2
LOOK_S = 0.05
SETTLE_S = 0.3
"""A servo goes the last hundredth after its command has arrived."""


class StepFailed(Exception):
    """The step did not do what it should; the arms stand. The message is for the operator. fault: it was one."""

    def __init__(self, text: str, *, fault: bool = False) -> None:
        super().__init__(text)
        self.fault = fault


class Motions:
    """timeout_s: of each motion."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        self._client, self._timeout_s = client, timeout_s

    def status(self) -> Status:
        return self._client.status(self._timeout_s)

    def q(self) -> Vector:
        """The measured joints. Raises StepFailed where they are not known."""
        q = np.array(look_up(self.status(), "robot", "q") or (), dtype=np.float64)
        if not q.size or not np.isfinite(q).all():
            raise StepFailed("the joints are not known; see pi0ctl status")
        return q

    def jog(self, jog: Jog, *, back: bool = False) -> dict[str, Any]:
        """Move it, and hold the readings against what was asked for. Raises StepFailed."""
        jog = Jog(jog.joint, -jog.by) if back else jog
        before = self.q()
        self._move("jog", joint=jog.joint, by=jog.by, speed=JOG_SPEED)
        after = self.q()
        if wrong := wrong_with(jog, before, after):
            raise StepFailed(wrong)
        return {"by": round(jog.by, 5), "moved": round(float(after[jog.index] - before[jog.index]), 5)}

    def home(self) -> dict[str, Any]:
        if not self._move("home", speed=HOME_SPEED).get("homed"):
            raise StepFailed("another command stopped it before it arrived")
        return {"speed": HOME_SPEED, "q": self.q().round(4).tolist()}

    def dry_run(self, prompt: str, seconds: float) -> list[Vector]:
        """Where the run would have led, from look to look; nothing moves."""
        planned: list[Vector] = []
        ending: Status | None = None
        with StopOnLeaving(self._client):
            motion_id = self._client.command("run", self._timeout_s, prompt=prompt, dry=True)["motion_id"]
            end_s = time.monotonic() + seconds
            while ending is None and time.monotonic() < end_s:
                status = self.status()
                if status.get("state") != "running" or status.get("motion_id") != motion_id:
                    ending = status
                elif (q := look_up(status, "control", "q_planned")) is not None:
                    planned.append(np.array(q, dtype=np.float64))
                time.sleep(LOOK_S)
            if ending is None:
                self._client.command("stop", STOP_TIMEOUT_S)
        if ending is not None:
            raise _ended(ending)
        if not planned:
            raise StepFailed(f"nothing was planned within {seconds:g} s; see pi0ctl status")
        return planned

    def run(self, prompt: str, speed: float, seconds: float) -> dict[str, Any]:
        with StopOnLeaving(self._client):
            motion_id = self._client.command("run", self._timeout_s, prompt=prompt, speed=speed)["motion_id"]
            ending = run_for(self._client, motion_id, seconds)
        if ending is not None:
            raise _ended(ending)
        return {"prompt": prompt, "speed": speed, "seconds": seconds}

    def _move(self, command: str, **body: Any) -> Status:
        """One move to a pose, to its end. Raises StepFailed where that was a fault."""
        deadline_s = time.monotonic() + self._timeout_s
        with StopOnLeaving(self._client):
            motion_id = self._client.command(command, self._timeout_s, **body)["motion_id"]
            ending = follow(self._client, "homing", motion_id, deadline_s)
        if ending.get("state") == "fault":
            raise _ended(ending)
        time.sleep(SETTLE_S)
        return ending


def _ended(status: Status) -> StepFailed:
    if status.get("state") == "fault":
        return StepFailed("\n".join(fault_lines(status.get("fault") or {})), fault=True)
    return StepFailed("another command stopped it")
