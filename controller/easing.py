"""How hard the motion made of a timeline may be: no harder than its newest chunk by itself, or the fade. Pure.

Chunk and fade add up, the more so where every new chunk is of another mind; together they should ask no more of an arm
than either alone. Used by control, and by the look ahead, which has to foresee what control does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.hermite import Piece
from controller.moves import Bounds
from controller.playback import Playback
from controller.robots.base import N_JOINTS, Vector
from controller.seam_statistics import ARMS
from controller.shaper import reachable
from controller.timeline import Timeline

ROOM = 1.05
"""So much harder than a chunk at its hardest the motion made of it may be: with no room, a joint that fell behind could
not come back while the chunk stays at its hardest."""

BEHIND = 0.01
"""rad, m: so far behind where it is wanted may a joint be left for the sake of a gentler motion."""


@dataclass(frozen=True, slots=True)
class Ease:
    """acceleration: bound of each joint, on the policy's time; until_ns: from then on, on that time, there is none."""

    acceleration: Vector
    until_ns: int

    @staticmethod
    def none() -> Ease:
        """The motion is made as wanted."""
        return Ease(np.full(N_JOINTS, np.inf), 0)

    @staticmethod
    def of(timeline: Timeline) -> Ease:
        """For what is made of this timeline. A switch is bridged by a piece, however hard; so is a chunk's end."""
        chunk, fade = timeline.chunk, timeline.fade
        if fade is None:
            return Ease.none()
        acceleration = np.full(N_JOINTS, np.inf)
        acceleration[ARMS] = ROOM * np.maximum(chunk.acceleration[ARMS].max(), fade.hardest[ARMS])
        return Ease(acceleration, chunk.end_ns - round(1e9 / chunk.rate_hz))

    def applied(self, wanted: Piece, playback: Playback) -> Piece:
        """The piece, eased where all that accelerates in it is chunk and fade: not while the speed changes."""
        if not playback.is_steady(wanted.t0_ns) or playback.at(wanted.t1_ns) > self.until_ns:
            return wanted
        return eased(wanted, playback.end**2 * self.acceleration)


def eased(piece: Piece, acceleration: Vector) -> Piece:
    """The piece; for joints of which it asks more acceleration, to the nearest end that asks no more.

    A joint that falls behind comes back without overshooting, for the wanted velocity is taken on first: what is left
    of the acceleration goes into the way. None falls farther behind than BEHIND: rather harder than late.
    """
    within = piece.peaks()[1] <= acceleration
    if within.all():
        return piece
    any_other = np.full_like(acceleration, np.inf)
    near = reachable(piece, Bounds(any_other, acceleration, any_other))
    q1 = np.clip(near.q1, piece.q1 - BEHIND, piece.q1 + BEHIND)
    as_wanted = within | (q1 != near.q1)
    return replace(piece, q1=np.where(within, piece.q1, q1), qd1=np.where(as_wanted, piece.qd1, near.qd1))
