"""The policy's own time: how far its motion has been played at an instant, at a speed that changes smoothly. Pure.

Action chunks are laid out on this time, so the same path is played slower by letting this time run slower. It stands
still until a run's ramp has ended, and its speed never steps: velocity and acceleration of the motion stay continuous.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Playback:
    """At t_ns the policy's time is tau_ns; from then on its speed goes from `start` to `end` within ramp_s.

    before: how it ran before t_ns; None: at `start`.
    """

    t_ns: int
    tau_ns: int
    start: float
    end: float
    ramp_s: float
    before: Playback | None = field(default=None, compare=False)

    @staticmethod
    def standing(t_ns: int, ramp_s: float) -> Playback:
        """The policy's time is 0 and does not pass."""
        return Playback(t_ns, 0, 0.0, 0.0, ramp_s)

    def at(self, t_ns: int) -> int:
        """The policy's time at t_ns."""
        dt_ns, ramp_ns = t_ns - self.t_ns, self.ramp_s * 1e9
        if dt_ns <= 0 and self.before is not None:
            return self.before.at(t_ns)
        if dt_ns <= 0:
            return self.tau_ns + round(self.start * dt_ns)
        x = min(dt_ns / ramp_ns, 1.0)
        change = self.end - self.start
        return self.tau_ns + round(
            self.start * dt_ns + change * (ramp_ns * x * x * x * (1.0 - 0.5 * x) + max(dt_ns - ramp_ns, 0.0))
        )

    def speed(self, t_ns: int) -> float:
        """How fast the policy's time passes at t_ns, against real time."""
        x = min(max((t_ns - self.t_ns) * 1e-9 / self.ramp_s, 0.0), 1.0)
        return self.start + (self.end - self.start) * x * x * (3.0 - 2.0 * x)

    def is_steady(self, t_ns: int) -> bool:
        """Whether its speed no longer changes at t_ns."""
        return t_ns - self.t_ns >= self.ramp_s * 1e9

    def towards(self, speed: float, t_ns: int) -> Playback:
        """The playback that goes from its speed at t_ns to another; itself when that is where it leads already."""
        if speed == self.end:
            return self
        before = replace(self, before=None)  # an observation is not older than the ramp before the last
        return Playback(t_ns, self.at(t_ns), self.speed(t_ns), speed, self.ramp_s, before)
