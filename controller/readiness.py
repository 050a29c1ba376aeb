"""What is missing before something may begin, judged by the children's newest records. Runs in the supervisor."""

from __future__ import annotations

import time

from controller import layout
from controller.board import camera_process
from controller.children import Children
from controller.config import Config
from controller.follower import Mode
from controller.guard_lag import GuardLag
from controller.input_watch import InputWatch


class Readiness:
    """Each answer is empty when all is well, else it says what is missing."""

    def __init__(self, config: Config, children: Children, inputs: InputWatch) -> None:
        self.config, self._children, self._inputs = config, children, inputs
        self._guard_lag = GuardLag(config.guard.lag_s)
        self.robot = ("motor", "control", *(("guard",) if config.guard.enabled else ()))
        """The processes without which nothing moves."""

    def missing(self, *processes: str) -> str:
        """Which of these processes are not there or do not beat."""
        names = [name for name in processes if not self._children[name].healthy]
        return f"not ready: {', '.join(names)}" if names else ""

    def guard_behind(self, now_ns: int, motion_id: int) -> str:
        """Why the collision guard does not keep up with the motion under way (0: none). Ask at every look."""
        if not self.config.guard.enabled:
            return ""
        return self._guard_lag.watch(now_ns, motion_id, self._children["guard"].status)

    def at_rest(self, since_ns: int = 0) -> bool:
        """The motor process says that it holds, in a record written after since_ns."""
        motor = self._children["motor"]
        fresh = motor.healthy and int(motor.status["t_ns"]) > since_ns
        return fresh and int(motor.status["mode"]) == Mode.HOLD

    def missing_robot(self) -> str:
        """The processes without which nothing moves, and joint readings that can be believed."""
        if missing := self.missing(*self.robot):
            return missing
        joints = self._inputs.joints(time.monotonic_ns())
        return "" if joints.valid else f"the joints {joints.reason}"

    def missing_for_run(self) -> str:
        """Policy server connected, every camera that it wants and the joints fit, see `inputs`."""
        if missing := self.missing("link"):
            return missing
        link = self._children["link"].status
        if not link["connected"]:
            why = layout.text(link["error"])
            return f"no connection to the policy server at {self.config.policy.url}" + (f": {why}" if why else "")
        now_ns, cameras = time.monotonic_ns(), self._inputs.wanted_cameras()
        if missing := self.missing(*(camera_process(name) for name in cameras)):
            return missing
        for name in cameras:
            if reason := self._inputs.camera(name, now_ns).reason:
                return f"{name} {reason}"
        reason = self._inputs.joints(now_ns).reason
        return reason and f"the joints {reason}"
