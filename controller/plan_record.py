"""The PLAN record: what control follows, told to the policy link (which asks for its continuation) and the guard. Pure.

Written by control at every change of it, and every PERIOD_NS besides; then the guard is woken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from controller import layout
from controller.planner import Phase, Planner
from controller.playback import Playback

if TYPE_CHECKING:
    from shm import Ring, Wake

PERIOD_NS = 100_000_000


class PlanWriter:
    """Keeps the newest plan in its ring."""

    def __init__(self, ring: Ring, wake: Wake) -> None:
        self._writer, self._wake = ring.writer(), wake
        self._record = np.zeros((), layout.PLAN)
        self._changes = -1
        self._t_ns = 0

    def tell(self, now_ns: int, planner: Planner) -> None:
        """Write the plan if it is another one than last time, or if that was long ago."""
        if planner.changes == self._changes and now_ns - self._t_ns < PERIOD_NS:
            return
        self._changes, self._t_ns = planner.changes, now_ns
        fill(self._record, now_ns, planner)
        self._writer.write(self._record)
        self._wake.set()


def fill(record: np.ndarray[Any, Any], now_ns: int, planner: Planner) -> None:
    """Write what the planner follows into a PLAN record."""
    record["t_ns"], record["motion_id"] = now_ns, planner.motion_id
    record["phase"] = planner.phase
    playback = planner.playback
    record["t_play_ns"], record["tau_play_ns"] = playback.t_ns, playback.tau_ns
    record["play_from"], record["play_to"] = playback.start, playback.end
    record["goal"], record["move_speed"] = planner.goal, planner.move_speed
    record["ease"], record["ease_until_ns"] = planner.ease.acceleration, planner.ease.until_ns
    timeline = planner.timeline
    record["n_rows"] = 0
    record["chunk_id"] = planner.chunk_id
    if timeline is None or planner.phase not in (Phase.RAMP, Phase.FOLLOW):
        return
    chunk = timeline.chunk
    record["tau0_ns"], record["action_rate_hz"] = chunk.t0_ns, chunk.rate_hz
    tau_ns, dtau_ns = playback.at(now_ns), round(1e9 / chunk.rate_hz)
    n = min(max((timeline.end_ns - tau_ns) // dtau_ns + 2, 1), layout.MAX_STEPS)
    record["tau_row0_ns"], record["dtau_ns"], record["n_rows"] = tau_ns, dtau_ns, n
    record["q"][:n], record["qd"][:n] = timeline.sample(tau_ns + dtau_ns * np.arange(n, dtype=np.int64))


def playback_of(record: np.ndarray[Any, Any], ramp_s: float) -> Playback:
    """The policy's time, as a PLAN record tells it. ramp_s: control.speed_ramp_s of the configuration."""
    return Playback(
        int(record["t_play_ns"]),
        int(record["tau_play_ns"]),
        float(record["play_from"]),
        float(record["play_to"]),
        ramp_s,
    )
