"""What an episode is to achieve, and when there is nothing more to wait for. Pure."""

from __future__ import annotations

from typing import Any, Protocol

from controller.demo.options import Options
from controller.robots.base import GRIPPERS
from controller.summary import look_up

IN_CUP_S = 1.0
"""The lighter counts as put into the cup when it has been lying there, let go, for this long."""

RELEASED_M = 0.036
"""A gripper this wide open holds nothing: the cup keeps one at 0.0345, the open pose is 0.04."""

MOTION_S = 10.0
"""A motion that means nothing is followed for so long."""

Status = dict[str, Any]


class Task(Protocol):
    """Watches one episode. Looks at the daemon's status as often as it comes."""

    @property
    def succeeded(self) -> bool:
        """As of the last look."""
        ...

    def done(self, now_s: float, status: Status) -> bool:
        """Look at one more status; True once there is nothing more to wait for."""
        ...

    def missed(self, duration_s: float) -> str:
        """What a person reads when the episode ended after so long without success."""
        ...


def task_of(options: Options) -> Task:
    """A fresh task for one episode."""
    return Motion() if options.is_toy else LighterInCup()


class LighterInCup:
    """The lighter is put into the cup: inside, and both grippers open, for IN_CUP_S."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self.succeeded = False

    def done(self, now_s: float, status: Status) -> bool:
        q = look_up(status, "robot", "q")
        released = q is not None and all(q[i] >= RELEASED_M for i in GRIPPERS)
        if not (released and look_up(status, "robot", "environment", "lighter_in_cup")):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        self.succeeded = self._since_s is not None and now_s - self._since_s >= IN_CUP_S
        return self.succeeded or status["state"] != "running"

    def missed(self, duration_s: float) -> str:
        return f"the lighter was not in the cup after {duration_s:.1f} s"


class Motion:
    """The policy is followed for MOTION_S, wherever it leads: nothing more can be asked of motion without meaning."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self.succeeded = False

    def done(self, now_s: float, status: Status) -> bool:
        running = status["state"] == "running"
        if self._since_s is None:
            self._since_s = now_s
        self.succeeded = running and now_s - self._since_s >= MOTION_S
        return self.succeeded or not running

    def missed(self, duration_s: float) -> str:
        return f"the motion ended after {duration_s:.1f} s, not {MOTION_S:g} s"
