"""Action chunks as pieces of a timeline on the policy's own time: action k belongs at tau0 + k / rate. Pure.

A timeline never changes: splicing a new chunk gives a new one, so nothing half-edited can be sampled. Between actions
a cubic Hermite with central-difference velocities is followed, to rest at the last. How one chunk gives way to the
next is the seam (run_options.Seam):

    switch    the new chunk counts from the splice on; what follows the timeline has to bridge the gap
    blend     so does it, and its distance from the old plan at the splice is faded out, joint by joint, over a window
              that is the longer the farther both are apart
    ensemble  the same with the weighted mean of every chunk that reaches the moment
    rtc       as blend; the server has already continued the old chunk, so there is little left to fade

Position and velocity are continuous everywhere but at a switch. What is faded is the distance, not the chunk: the new
chunk's own motion is followed at once, and no chunk is needed any more once it has been replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.robots.base import Vector
from controller.run_options import Seam

Actions = NDArray[np.float64]
Table = NDArray[np.float64]
Instants = NDArray[np.int64]

MOST_CHUNKS = 16
"""In an ensemble: the work of a tick has a bound."""

PEAK_OF_POSITION, PEAK_OF_VELOCITY = 5.78, 3.95
"""Largest acceleration of a fade over T seconds that begins with a distance d and a velocity v: 5.78 d / T^2 of the
one and 3.95 v / T of the other, by the quintic's second derivative."""


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

    @property
    def acceleration(self) -> Vector:
        """(joints,) the largest that the chunk itself asks for, by its second differences."""
        largest: Vector = np.abs(np.diff(self.actions, 2, axis=0)).max(axis=0, initial=0.0) * self.rate_hz**2
        return largest

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position and velocity at t_ns; outside the chunk its first or last action, at rest."""
        x, last = (t_ns - self.t0_ns) * (1e-9 * self.rate_hz), len(self.actions) - 1
        k = min(max(int(x), 0), last - 1)
        return self._between(k, min(max(x - k, 0.0), 1.0), self.rate_hz if 0.0 <= x < last else 0.0)

    def sample(self, t_ns: Instants) -> tuple[Table, Table]:
        """Positions and velocities (n, joints) at n instants, each as `at`."""
        x, last = (t_ns - self.t0_ns) * (1e-9 * self.rate_hz), len(self.actions) - 1
        k = np.clip(x.astype(np.int64), 0, last - 1)
        rate_hz = self.rate_hz * ((x >= 0.0) & (x < last))
        return self._between(k, np.clip(x - k, 0.0, 1.0)[:, None], rate_hz[:, None])

    def _between(self, k: Any, s: Any, rate_hz: Any) -> tuple[Any, Any]:
        """The part s of the way from action k to the next, of one instant or of many."""
        q0, m0, m1 = self.actions[k], self._slopes[k], self._slopes[k + 1]
        delta = self.actions[k + 1] - q0
        a = 3.0 * delta - 2.0 * m0 - m1
        b = m0 + m1 - 2.0 * delta
        return q0 + s * (m0 + s * (a + s * b)), (m0 + s * (2.0 * a + 3.0 * s * b)) * rate_hz


@dataclass(frozen=True, slots=True)
class Fading:
    """How seams are faded. acceleration: what a fade may take of it (rad/s2, m/s2), one value per joint."""

    shortest_s: float
    longest_s: float
    acceleration: Vector
    decay: float = 0.01
    """Of an ensemble: the n-th oldest chunk weighs exp(-n * decay)."""

    def window_s(self, distance: Vector, velocity: Vector) -> Vector:
        """The length of each joint's fade; half of the acceleration is for the distance, half for the velocity."""
        for_distance = np.sqrt(2.0 * PEAK_OF_POSITION * np.abs(distance) / self.acceleration)
        for_velocity = 2.0 * PEAK_OF_VELOCITY * np.abs(velocity) / self.acceleration
        return np.clip(np.maximum(for_distance, for_velocity), self.shortest_s, self.longest_s)


ALONG = np.linspace(0.0, 1.0, 17)[:, None]
"""Where a fade's largest acceleration is looked for: within 2 %."""


class Fade:
    """A distance that vanishes: from given position, velocity and acceleration to nothing, a quintic for each joint."""

    def __init__(self, t0_ns: int, window_s: Vector, q: Vector, qd: Vector, qdd: Vector) -> None:
        self.t0_ns = t0_ns
        self.window_s = np.maximum(window_s, 1e-9)
        v, a = qd * self.window_s, 0.5 * qdd * self.window_s**2
        self._c = (q, v, a, -10 * q - 6 * v - 3 * a, 15 * q + 8 * v + 3 * a, -6 * q - 3 * v - a)

    @property
    def end_ns(self) -> int:
        """When the last joint's is over."""
        return self.t0_ns + round(1e9 * float(self.window_s.max()))

    def _part(self, t_ns: int | Instants) -> Table:
        since_s = np.asarray(t_ns - self.t0_ns)[..., None] * 1e-9
        x: Table = np.minimum(np.maximum(since_s / self.window_s, 0.0), 1.0)
        return x

    def at(self, t_ns: int | Instants) -> tuple[Table, Table]:
        """Distance and its velocity at an instant (joints) or at n instants (n, joints)."""
        x, (c0, c1, c2, c3, c4, c5) = self._part(t_ns), self._c
        q = c0 + x * (c1 + x * (c2 + x * (c3 + x * (c4 + x * c5))))
        qd = c1 + x * (2 * c2 + x * (3 * c3 + x * (4 * c4 + x * 5 * c5)))
        fading = x < 1.0
        return q * fading, qd * fading / self.window_s

    def acceleration(self, t_ns: int) -> Vector:
        """At one instant."""
        x = self._part(t_ns)
        qdd: Vector = self._acceleration(x) * (x < 1.0)
        return qdd

    @property
    def hardest(self) -> Vector:
        """(joints,) its largest acceleration (rad/s2, m/s2)."""
        largest: Vector = np.abs(self._acceleration(ALONG)).max(axis=0)
        return largest

    def _acceleration(self, x: Table) -> Table:
        """Of each joint, the part x of its window on."""
        _, _, c2, c3, c4, c5 = self._c
        qdd: Table = (2 * c2 + x * (6 * c3 + x * (12 * c4 + x * 20 * c5))) / self.window_s**2
        return qdd


@dataclass(frozen=True, slots=True)
class Timeline:
    """What to follow: the newest chunk, or an ensemble's, oldest first; and what fades of the distance from before."""

    seam: Seam
    fading: Fading
    chunks: tuple[Chunk, ...]
    fade: Fade | None = None

    @staticmethod
    def start(chunk: Chunk, fading: Fading) -> Timeline:
        """Follow this chunk and nothing else."""
        return Timeline(Seam.SWITCH, fading, (chunk,))

    @property
    def chunk(self) -> Chunk:
        """The newest."""
        return self.chunks[-1]

    @property
    def end_ns(self) -> int:
        return self.chunk.end_ns

    def splice(
        self, chunk: Chunk, t_ns: int, seam: Seam, here: tuple[Vector, Vector] | None = None
    ) -> Timeline | None:
        """The timeline that goes over to `chunk` at t_ns; None when all of the chunk is already past.

        here: what is commanded at t_ns and is faded from, position, and velocity per second of the policy's time; None:
        what this timeline has there.
        """
        if chunk.end_ns <= t_ns:
            return None
        if seam is Seam.SWITCH:
            return Timeline(seam, self.fading, (chunk,))
        older = [old for old in self.chunks if old.end_ns > t_ns] if seam is Seam.ENSEMBLE else []
        return Timeline(seam, self.fading, (*older[1 - MOST_CHUNKS :], chunk)).faded_from(self, t_ns, here)

    def faded_from(self, old: Timeline, t_ns: int, here: tuple[Vector, Vector] | None = None) -> Timeline:
        """This timeline from `here` at t_ns on, or from where the old one is then."""
        (q_here, qd_here), (q, qd) = here or old.at(t_ns), self.at(t_ns)
        distance, velocity = q_here - q, qd_here - qd
        # what was fading goes on doing so: its acceleration is taken over; the chunks' own is rough, and is not
        acceleration = old.fade.acceleration(t_ns) if old.fade is not None else np.zeros_like(q)
        window_s = self.fading.window_s(distance, velocity)
        return replace(self, fade=Fade(t_ns, window_s, distance, velocity, acceleration))

    def at(self, t_ns: int) -> tuple[Vector, Vector]:
        """Position (rad, m) and velocity at t_ns, per second of the policy's time."""
        if len(self.chunks) == 1:
            q, qd = self.chunk.at(t_ns)
        else:
            q, qd = self._mean([chunk.at(t_ns) for chunk in self.chunks], t_ns)
        if self.fade is None or t_ns >= self.fade.end_ns:
            return q, qd
        distance, velocity = self.fade.at(t_ns)
        return q + distance, qd + velocity

    def sample(self, t_ns: Instants) -> tuple[Table, Table]:
        """Positions and velocities (n, joints) at n instants, each as `at`."""
        if len(self.chunks) == 1:
            q, qd = self.chunk.sample(t_ns)
        else:
            q, qd = self._mean([chunk.sample(t_ns) for chunk in self.chunks], t_ns[:, None])
        if self.fade is None or (t_ns >= self.fade.end_ns).all():
            return q, qd
        distance, velocity = self.fade.at(t_ns)
        return q + distance, qd + velocity

    def _mean(self, motions: list[tuple[Any, Any]], t_ns: Any) -> tuple[Any, Any]:
        """Of an ensemble: the n-th oldest chunk weighs exp(-n * decay), and less and less as it ends."""
        fade_s = max(self.fading.longest_s, 1e-9)
        total = change = q_sum = qd_sum = 0.0
        for n, (chunk, (q, qd)) in enumerate(zip(self.chunks, motions, strict=True)):
            w, dw = math.exp(-n * self.fading.decay), 0.0
            if chunk is not self.chunk:
                x = np.minimum(np.maximum((chunk.end_ns - t_ns) * (1e-9 / fade_s), 0.0), 1.0)
                w, dw = w * (x * x * (3.0 - 2.0 * x)), w * (-6.0 / fade_s * x * (1.0 - x))
            total, change = total + w, change + dw
            q_sum, qd_sum = q_sum + w * q, qd_sum + w * qd + dw * q
        mean = q_sum / total
        return mean, (qd_sum - change * mean) / total
