"""Action chunks as pieces of a timeline on the policy's own time: action k belongs at tau0 + k / rate. Pure.

A timeline never changes: splicing a new chunk gives a new one, so nothing half-edited can be sampled. Between actions
a cubic Hermite with central-difference velocities is followed, to rest at the last. How one chunk gives way to the
next is the seam (run_options.Seam):

    switch    the new chunk counts from the splice on; what follows the timeline has to bridge the gap
    blend     cross-faded, joint by joint, over a window that is the longer the farther both are apart
    ensemble  the weighted mean of every chunk that reaches the moment; each fades in at its splice and out at its end
    rtc       as blend; the server has already continued the old chunk, so there is little left to fade

Position and velocity are continuous everywhere but at a switch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from controller.robots.base import Vector
from controller.run_options import Seam

Actions = NDArray[np.float64]
Table = NDArray[np.float64]

MOST_PARTS = 32
"""Chunks in an ensemble; of more, the oldest fades out early, so that the work of a tick has a bound."""

NEVER_NS = 2**62

MOST_FADES = 8
"""Cross-fades at a time, for the same reason; of more, the oldest has next to no weight."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`actions` (n, joints): absolute joint positions; action k belongs at t0_ns + k / rate_hz."""

    chunk_id: int
    t0_ns: int
    rate_hz: float
    actions: Actions
    _slopes: Actions = field(init=False, repr=False, compare=False)
    """Change per action step at each action."""

    def __post_init__(self) -> None:
        slopes = np.zeros_like(self.actions)
        slopes[0] = self.actions[1] - self.actions[0]
        slopes[1:-1] = 0.5 * (self.actions[2:] - self.actions[:-2])
        object.__setattr__(self, "_slopes", slopes)

    @property
    def end_ns(self) -> int:
        """Instant of the last action."""
        return self.t0_ns + round((len(self.actions) - 1) * 1e9 / self.rate_hz)

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity at t_ns, as `sample`."""
        q, qd = self.sample(np.array([t_ns]))
        return q[0], qd[0]

    def sample(self, t_ns: NDArray[np.int64]) -> tuple[Table, Table]:
        """Positions and velocities (n, joints) at n instants; outside the chunk its first or last action, at rest."""
        last = len(self.actions) - 1
        x = (t_ns - self.t0_ns) * (1e-9 * self.rate_hz)
        k = np.clip(x.astype(np.int64), 0, last - 1)
        s = np.clip(x - k, 0.0, 1.0)[:, None]
        q0, m0, m1 = self.actions[k], self._slopes[k], self._slopes[k + 1]
        delta = self.actions[k + 1] - q0
        a = 3.0 * delta - 2.0 * m0 - m1
        b = m0 + m1 - 2.0 * delta
        moving = ((x >= 0.0) & (x < last))[:, None] * self.rate_hz
        return q0 + s * (m0 + s * (a + s * b)), (m0 + s * (2.0 * a + 3.0 * s * b)) * moving


@dataclass(frozen=True, slots=True)
class Fading:
    """How cross-fades are made. acceleration: what a fade may take of it (rad/s2, m/s2), one value per joint."""

    shortest_s: float
    longest_s: float
    acceleration: Vector
    decay: float = 0.01
    """Of an ensemble: the n-th oldest chunk weighs exp(-n * decay)."""

    def window_ns(self, gap: Vector, velocity_gap: Vector) -> Vector:
        """The length of each joint's fade between two motions so far apart."""
        position_s = np.sqrt(12.0 * np.abs(gap) / self.acceleration)
        velocity_s = 6.0 * np.abs(velocity_gap) / self.acceleration
        return 1e9 * np.clip(np.maximum(position_s, velocity_s), self.shortest_s, self.longest_s)


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk in an ensemble: it fades in from in_ns on and has faded out at out_ns, each within fade_ns per joint.

    The newest does not fade out; an older one ends with its chunk, but not before the next has faded in.
    """

    chunk: Chunk
    in_ns: int
    out_ns: int
    fade_ns: Vector


@dataclass(frozen=True, slots=True)
class Timeline:
    """What to follow now (one chunk, or an ensemble's, oldest first) and, while it fades, what that replaces."""

    seam: Seam
    fading: Fading
    parts: tuple[Part, ...]
    previous: Timeline | None
    t_splice_ns: int
    window_ns: Vector
    """Length of the fade from `previous`, one value per joint."""

    @staticmethod
    def start(chunk: Chunk, t_ns: int, fading: Fading) -> Timeline:
        """Follow this chunk from t_ns on, and nothing else."""
        return _single(Seam.SWITCH, fading, chunk, t_ns)

    @property
    def chunk(self) -> Chunk:
        """The newest."""
        return self.parts[-1].chunk

    @property
    def end_ns(self) -> int:
        return self.chunk.end_ns

    def splice(self, chunk: Chunk, t_ns: int, seam: Seam) -> Timeline | None:
        """The timeline that goes over to `chunk` at t_ns; None when all of the chunk is already past."""
        if chunk.end_ns <= t_ns:
            return None
        if seam is Seam.SWITCH:
            return _single(seam, self.fading, chunk, t_ns)
        gap, velocity_gap = self.gap(chunk, t_ns)
        if seam is Seam.ENSEMBLE and self.seam is Seam.ENSEMBLE:
            share = 1.0 / (len(self.parts) + 1)  # what the new chunk can move the mean by
            fade_ns = self.fading.window_ns(share * gap, share * velocity_gap)
            older = self._older(t_ns, t_ns + round(float(fade_ns.max())))
            return replace(self.unfaded(t_ns), parts=(*older, Part(chunk, t_ns, NEVER_NS, fade_ns)))
        window_ns = self.fading.window_ns(gap, velocity_gap)
        return replace(_single(seam, self.fading, chunk, t_ns), previous=self.unfaded(t_ns), window_ns=window_ns)

    def gap(self, chunk: Chunk, t_ns: int) -> tuple[Vector, Vector]:
        """How far the chunk is from what is followed at t_ns, in position and velocity."""
        q, qd = self.at(t_ns)
        q_new, qd_new = chunk.at(t_ns)
        return q_new - q, qd_new - qd

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position (rad, m) and velocity at t_ns, per second of the policy's time."""
        q, qd = self.sample(np.array([t_ns]))
        return q[0], qd[0]

    def sample(self, t_ns: NDArray[np.int64]) -> tuple[Table, Table]:
        """Positions and velocities (n, joints) at n instants."""
        q, qd = self.parts[0].chunk.sample(t_ns) if len(self.parts) == 1 else self._ensemble(t_ns)
        if self.previous is None or ((t_ns - self.t_splice_ns)[:, None] >= self.window_ns).all():
            return q, qd
        w, dw = _rise((t_ns - self.t_splice_ns)[:, None], self.window_ns)
        q_old, qd_old = self.previous.sample(t_ns)
        return q_old + w * (q - q_old), qd_old + w * (qd - qd_old) + dw * (q - q_old)

    def _ensemble(self, t_ns: NDArray[np.int64]) -> tuple[Table, Table]:
        weights, changes, positions, velocities = [], [], [], []
        for n, part in enumerate(self.parts):
            age = np.exp(-n * self.fading.decay)
            rise, d_rise = _rise((t_ns - part.in_ns)[:, None], part.fade_ns)
            fall, d_fall = _rise((part.out_ns - t_ns)[:, None], part.fade_ns)
            q, qd = part.chunk.sample(t_ns)
            weights.append(age * rise * fall)
            changes.append(age * (d_rise * fall - rise * d_fall))
            positions.append(q)
            velocities.append(qd)
        w, dw = np.array(weights), np.array(changes)
        q_all, qd_all = np.array(positions), np.array(velocities)
        total = w.sum(axis=0)
        q = (w * q_all).sum(axis=0) / total
        return q, ((dw * (q_all - q)).sum(axis=0) + (w * qd_all).sum(axis=0)) / total

    def _older(self, t_ns: int, t_replaced_ns: int) -> tuple[Part, ...]:
        """The parts that are not over at t_ns once another one is the newest; the oldest of too many on its way out."""
        newest = self.parts[-1]
        kept = (*self.parts[:-1], replace(newest, out_ns=max(newest.chunk.end_ns, t_replaced_ns)))
        parts = [part for part in kept if part.out_ns > t_ns]
        for i in range(len(parts) - MOST_PARTS + 1):
            out_ns = t_ns + round(float(parts[i].fade_ns.max()))
            parts[i] = replace(parts[i], out_ns=min(parts[i].out_ns, out_ns))
        return tuple(parts)

    def unfaded(self, t_ns: int, most: int = MOST_FADES) -> Timeline:
        """Without what has faded out by t_ns, so that a run of any length keeps a few chunks."""
        if self.previous is None:
            return self
        faded = most == 0 or bool((t_ns >= self.t_splice_ns + self.window_ns).all())
        return replace(self, previous=None if faded else self.previous.unfaded(t_ns, most - 1))


def _single(seam: Seam, fading: Fading, chunk: Chunk, t_ns: int) -> Timeline:
    n_joints = chunk.actions.shape[1]
    faded_in_ns = t_ns - round(1e9 * fading.longest_s)  # it stands alone: there is nothing for it to fade in from
    part = Part(chunk, faded_in_ns, NEVER_NS, np.full(n_joints, 1e9 * fading.shortest_s))
    return Timeline(seam, fading, (part,), None, t_ns, np.zeros(n_joints))


def _rise(dt_ns: NDArray[np.int64], window_ns: Vector) -> tuple[Table, Table]:
    """From 0 to 1 within the window, and its change per second; at once where the window is empty."""
    x = np.clip(dt_ns / np.maximum(window_ns, 1.0), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x), 6.0 * x * (1.0 - x) * (1e9 / np.maximum(window_ns, 1.0))
