"""Moves that we generate ourselves: homing, running after a goal and braking, all jerk-limited, by `ruckig`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import ruckig  # type: ignore[import-not-found]

from controller.hermite import State
from controller.robots.base import Vector

ALONG = 0.999
"""Of the largest velocity, so much may be that of a moving goal: nothing can be caught that goes at all of it."""


class MoveError(RuntimeError):
    """No move exists from here to there within the limits."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Largest velocity, acceleration and jerk of each joint."""

    velocity: Vector
    acceleration: Vector
    jerk: Vector

    def slowed(self, speed: float) -> Bounds:
        """Of the same move, slower in time by this factor."""
        return Bounds(speed * self.velocity, speed**2 * self.acceleration, speed**3 * self.jerk)


class Move:
    """A finished trajectory: sample it at any time."""

    def __init__(self, given: ruckig.InputParameter) -> None:
        self._trajectory = ruckig.Trajectory(given.degrees_of_freedom)
        try:
            result = ruckig.Ruckig(given.degrees_of_freedom).calculate(given, self._trajectory)
        except ruckig.RuckigError as error:
            raise MoveError(f"no move within the limits: {error}") from error
        if result not in (ruckig.Result.Working, ruckig.Result.Finished):
            raise MoveError(f"no move within the limits: {result}")

    @property
    def duration_s(self) -> float:
        return float(self._trajectory.duration)

    def at(self, t_s: float) -> State:
        """State t_s after the start; before it the start, after the end the end."""
        q, qd, qdd = self._trajectory.at_time(min(max(t_s, 0.0), self.duration_s))
        return State(np.asarray(q), np.asarray(qd), np.asarray(qdd))


def _given(start: State, bounds: Bounds) -> ruckig.InputParameter:
    given = ruckig.InputParameter(len(start.q))
    given.current_position, given.current_velocity = start.q.tolist(), start.qd.tolist()
    given.current_acceleration = np.clip(start.qdd, -bounds.acceleration, bounds.acceleration).tolist()
    given.max_velocity, given.max_acceleration = bounds.velocity.tolist(), bounds.acceleration.tolist()
    given.max_jerk = bounds.jerk.tolist()
    return given


def to_pose(start: State, q: Vector, bounds: Bounds) -> Move:
    """All joints together from `start` to rest at q."""
    given = _given(start, bounds)
    given.target_position = q.tolist()
    return Move(given)


def chase(start: State, q: Vector, qd: Vector, t_s: float, bounds: Bounds) -> State:
    """Where each joint is t_s after `start` that runs by itself, as fast as it may, after one that then is at q.

    That one goes evenly, with qd: whoever runs after it need not meet it at q. For a move to the state (q, qd) itself
    a joint may have to go back, to take a run.
    """
    pace = np.clip(qd, -ALONG * bounds.velocity, ALONG * bounds.velocity)
    given = _given(State(start.q - (q - t_s * pace), start.qd - pace, start.qdd), bounds)
    given.max_velocity = (bounds.velocity - pace).tolist()
    given.min_velocity = (-bounds.velocity - pace).tolist()
    given.target_position = given.target_velocity = [0.0] * len(q)
    given.synchronization = ruckig.Synchronization.No
    end = Move(given).at(t_s)
    return State(q + end.q, pace + end.qd, end.qdd)


def stop(start: State, bounds: Bounds) -> Move:
    """Each joint by itself, as fast as it may, from `start` to rest, wherever that ends."""
    given = _given(start, bounds)
    given.control_interface = ruckig.ControlInterface.Velocity
    given.synchronization = ruckig.Synchronization.No
    given.target_velocity = [0.0] * len(start.q)
    return Move(given)
