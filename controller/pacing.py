"""When the next request leaves, by what control follows. Pure: the link and the benches use it on their own clocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.plan_record import playback_of
from controller.planner import Phase
from controller.playback import Playback


@dataclass(frozen=True, slots=True)
class Followed:
    """What control followed at t_ns: action k of the newest chunk belongs at the policy's time tau0_ns + k / rate_hz.

    playing: False while the arms still move to the first action; the policy's time stands then.
    """

    t_ns: int
    motion_id: int
    playing: bool
    playback: Playback
    chunk_id: int
    tau0_ns: int
    rate_hz: float


def followed(plan: np.ndarray[tuple[()], np.dtype[np.void]], ramp_s: float) -> Followed | None:
    """A PLAN record as pacing and requests need it; None while control follows no chunk."""
    phase = int(plan["phase"])
    if phase not in (Phase.RAMP, Phase.FOLLOW):
        return None
    return Followed(
        t_ns=int(plan["t_ns"]),
        motion_id=int(plan["motion_id"]),
        playing=phase == Phase.FOLLOW,
        playback=playback_of(plan, ramp_s),
        chunk_id=int(plan["chunk_id"]),
        tau0_ns=int(plan["tau0_ns"]),
        rate_hz=float(plan["action_rate_hz"]),
    )


class Pacing:
    """Remembers the chunk that was delivered last. Of several requests it never lets two be under way: ask it once
    the last answer is in."""

    def __init__(self) -> None:
        self._chunk_id = 0
        self._t_delivered_ns = 0

    def delivered(self, chunk_id: int, t_ns: int) -> None:
        """A chunk was handed to control, at the latest at t_ns."""
        self._chunk_id, self._t_delivered_ns = chunk_id, t_ns

    def due(self, now_ns: int, plan: Followed | None, execution_horizon: int) -> bool:
        """Whether the next request may leave. plan: of the motion in question, None before control follows it.

        execution_horizon: steps of the newest chunk to be past before; 0: none. Until the policy's time passes, the
        next request leaves at once, so that the plan is fresh when it does.
        """
        if execution_horizon == 0 or plan is None or not plan.playing:
            return True
        if plan.chunk_id != self._chunk_id and plan.t_ns <= self._t_delivered_ns:
            return False  # control has yet to look at the newest chunk
        return (plan.playback.at(now_ns) - plan.tau0_ns) * 1e-9 * plan.rate_hz >= execution_horizon
