"""Action chunks as pieces of a timeline: action k belongs at t0 + k / rate. Pure; used by control.

A timeline never changes: splicing a new chunk gives a new one, so nothing half-edited can be sampled.
Between actions a cubic Hermite with central-difference velocities is followed, from rest at the first
action to rest at the last; from one chunk to the next the two are cross-faded over a window that starts at
the splice. So position and velocity are continuous everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.robots.base import Vector

Actions = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chunk:
    """`actions` (n, joints): absolute joint positions; action k belongs at t0_ns + k / rate_hz."""

    chunk_id: int
    t0_ns: int
    rate_hz: float
    actions: Actions

    @property
    def end_ns(self) -> int:
        """Instant of the last action."""
        return self.t0_ns + round((len(self.actions) - 1) * 1e9 / self.rate_hz)

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity at t_ns; outside the chunk its first or last action, at rest."""
        actions, last = self.actions, len(self.actions) - 1
        x = (t_ns - self.t0_ns) * 1e-9 * self.rate_hz
        if x <= 0.0 or x >= last:
            return actions[0 if x <= 0.0 else last].copy(), np.zeros(actions.shape[1])
        k = int(x)
        s = x - k
        q0, q1 = actions[k], actions[k + 1]
        # tangents, per action step
        m0 = 0.5 * (q1 - actions[k - 1]) if k > 0 else np.zeros_like(q0)
        m1 = 0.5 * (actions[k + 2] - q0) if k + 1 < last else np.zeros_like(q0)
        delta = q1 - q0
        a = 3.0 * delta - 2.0 * m0 - m1
        b = m0 + m1 - 2.0 * delta
        q = q0 + s * (m0 + s * (a + s * b))
        qd = (m0 + s * (2.0 * a + 3.0 * s * b)) * self.rate_hz
        return q, qd


@dataclass(frozen=True, slots=True)
class Timeline:
    """The chunk to follow and, while the cross-fade lasts, the timeline it replaces."""

    chunk: Chunk
    previous: Timeline | None
    t_splice_ns: int
    blend_ns: int

    @staticmethod
    def start(chunk: Chunk, t_ns: int, blend_s: float) -> Timeline:
        """Begin with action 0 at t_ns: the arms were at rest, so no action has been used up meanwhile."""
        return Timeline(replace(chunk, t0_ns=t_ns), None, t_ns, round(blend_s * 1e9))

    @property
    def end_ns(self) -> int:
        return self.chunk.end_ns

    def splice(self, chunk: Chunk, t_ns: int) -> Timeline | None:
        """The timeline that follows `chunk` from t_ns on; None when all of the chunk is already past."""
        if chunk.end_ns <= t_ns:
            return None
        return Timeline(chunk, self.unfaded(t_ns), t_ns, self.blend_ns)

    def unfaded(self, t_ns: int) -> Timeline:
        """Without what has faded out by t_ns, so that a run of any length keeps a chunk or two."""
        if self.previous is None:
            return self
        faded = t_ns >= self.t_splice_ns + self.blend_ns
        return replace(self, previous=None if faded else self.previous.unfaded(t_ns))

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position (rad, m) and velocity at t_ns."""
        q, qd = self.chunk.at(t_ns)
        elapsed_ns = t_ns - self.t_splice_ns
        if self.previous is None or elapsed_ns >= self.blend_ns:
            return q, qd
        if elapsed_ns <= 0:
            return self.previous.at(t_ns)
        x = elapsed_ns / self.blend_ns
        w, dw = x * x * (3.0 - 2.0 * x), 6.0 * x * (1.0 - x) / (self.blend_ns * 1e-9)
        q_old, qd_old = self.previous.at(t_ns)
        return q_old + w * (q - q_old), qd_old + w * (qd - qd_old) + dw * (q - q_old)
