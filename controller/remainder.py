"""What is left of the chunk that is being executed, as a request for a chunk that continues it carries it. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from controller.pacing import Followed
from controller.timeline import Actions, Chunk

KEPT = 8
"""Chunks remembered. Control follows one of the last two or three; older ones it has refused as too late."""

ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Remainder:
    """actions (k, joints): row 0 is the step that row 0 of the chunk asked for replaces.

    delay_steps: how many of them will have been executed before the answer can be used.
    """

    actions: Actions
    delay_steps: int


class Delivered:
    """The actions of the last chunks that were handed to control."""

    def __init__(self) -> None:
        self._actions: OrderedDict[int, Actions] = OrderedDict()

    def remember(self, chunk_id: int, actions: Actions) -> None:
        self._actions[chunk_id] = actions
        while len(self._actions) > KEPT:
            self._actions.popitem(last=False)

    def remainder(
        self, plan: Followed, t_observation_ns: int, delay_s: float, horizon: int | None
    ) -> Remainder | None:
        """What is left of the followed chunk at an observation; None if it is not one of ours.

        The chunk lies where control put it: the first one of a run begins when the arms are at its action 0, whatever
        its observation. delay_s: expected; how many steps that is depends on how fast the policy's time passes.
        horizon: longest rest that the server takes, None: as long as the chunk.
        """
        actions = self._actions.get(plan.chunk_id)
        if actions is None:
            return None
        chunk = Chunk(plan.chunk_id, plan.tau0_ns, plan.rate_hz, actions)
        tau_ns = plan.playback.at(t_observation_ns)
        left = math.floor((chunk.end_ns - tau_ns) * 1e-9 * plan.rate_hz + ROUNDING) + 1
        count = min(max(left, 1), len(actions), len(actions) if horizon is None else horizon)
        rows = [chunk.at(tau_ns + round(k * 1e9 / plan.rate_hz))[0] for k in range(count)]
        delay_ns = plan.playback.at(t_observation_ns + round(delay_s * 1e9)) - tau_ns
        steps = math.ceil(delay_ns * 1e-9 * plan.rate_hz - ROUNDING)
        return Remainder(np.array(rows), min(max(steps, 0), count))
