"""The log of motions as a story: what began, how it went, how it ended. Part of the supervisor.

Counters are compared with those at the motion's beginning; a process that was started anew meanwhile begins at 0.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from controller.logs import fields
from controller.states import MOVING, State, Trigger

if TYPE_CHECKING:
    from controller.supervisor import Supervisor

COUNTERS = (("control", "chunks"), ("control", "late_chunks"), ("control", "stall_ticks"), ("control", "missed"),
            ("motor", "missed"))  # fmt: skip

ENDED = {Trigger.ARRIVED: "arrived", Trigger.STOP: "stopped", Trigger.TRIP: "ended by a fault"}

log = logging.getLogger(__name__)


class Story:
    """Told of every change of state."""

    def __init__(self, daemon: Supervisor) -> None:
        self._daemon = daemon
        self._began_ns, self._asked_ns = 0, 0
        self._motion = ""
        self._counts = dict.fromkeys(COUNTERS, 0)

    def asked(self, prompt: str, options: str) -> None:
        """A run is being prepared."""
        self._asked_ns = time.monotonic_ns()
        told = fields(motion_id=self._daemon.orders.motion_id, prompt=prompt)
        log.info("run %d is asked for: %r, %s", self._daemon.orders.motion_id, prompt, options, extra=told)

    def changed(self, before: State, trigger: Trigger, after: State) -> None:
        """Raises nothing: a story that cannot be told stops no change of state."""
        try:
            self._tell(before, trigger, after)
        except Exception:
            log.exception("%s -> %s by %s, and the story of it is missing", before.value, after.value, trigger.value)

    def _tell(self, before: State, trigger: Trigger, after: State) -> None:
        now_ns, motion_id = time.monotonic_ns(), self._daemon.orders.motion_id
        told = fields(state=after.value, before=before.value, trigger=trigger.value, motion_id=motion_id)
        if after.code in MOVING:
            self._motion = "run" if after is State.RUNNING else "jog" if trigger is Trigger.JOG else "homing"
            self._began_ns, self._counts = now_ns, self._counted()
            waited = f", {_s(now_ns - self._asked_ns)} after it was asked for" if after is State.RUNNING else ""
            log.info("%s %d begins%s", self._motion, motion_id, waited, extra=told)
        elif before.code in MOVING:
            took, how = _s(now_ns - self._began_ns), self._how_it_went() if before is State.RUNNING else ""
            log.info("%s %d %s after %s%s", self._motion, motion_id, ENDED[trigger], took, how, extra=told)
        elif trigger is not Trigger.TRIP:  # which has a line of its own, the fault's
            log.info("%s: %s is now %s", trigger.value, before.value, after.value, extra=told)

    def _counted(self) -> dict[tuple[str, str], int]:
        children = self._daemon.children
        return {(name, counter): int(children[name].status[counter]) for name, counter in COUNTERS}

    def _how_it_went(self) -> str:
        before, now = self._counts, self._counted()
        chunks, late, stalls, control, motor = (max(now[key] - before[key], 0) for key in COUNTERS)
        text = f": {chunks} chunks ({late} late), {stalls} ticks without a plan"
        text += f", missed ticks {control} + {motor} (motor)"
        latencies = self._daemon.latencies
        latencies.drain()
        found = latencies.of_motion(self._daemon.orders.motion_id)
        if found["p50"] is None:
            return text
        return f"{text}, end to end p50 {found['p50']:.0f} ms p95 {found['p95']:.0f} ms"


def _s(duration_ns: int) -> str:
    return f"{duration_ns * 1e-9:.2f} s"
