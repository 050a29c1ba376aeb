"""A jog: one joint moved a little from where it is held, the others staying. Pure.

It is the smallest motion there is, for trying a robot out. It goes the way of every move to a pose: same planner,
limits, guards and faults. Afterwards the arms are not homed.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.robots.base import GRIPPERS, JOINT_NAMES, Vector

FARTHEST_RAD = 0.1
FARTHEST_M = 0.01
SPEED = 0.1
"""Of robot.homing, unless it is said."""


class JogError(ValueError):
    """This jog is not to be had. The message names the value and the bound."""


@dataclass(frozen=True, slots=True)
class Jog:
    """by: rad, grippers m; more opens. Raises JogError when made with an unknown joint or too far."""

    joint: str
    by: float

    def __post_init__(self) -> None:
        if self.joint not in JOINT_NAMES:
            raise JogError(f"joint={self.joint!r} is none of {', '.join(JOINT_NAMES)}")
        if not 0.0 < abs(self.by) <= self.farthest:  # nan is not
            raise JogError(f"by={self.by:g}: {self.joint} jogs by at most {self.farthest:g} {self.unit}, and not by 0")

    @property
    def index(self) -> int:
        return JOINT_NAMES.index(self.joint)

    @property
    def farthest(self) -> float:
        return FARTHEST_M if self.index in GRIPPERS else FARTHEST_RAD

    @property
    def unit(self) -> str:
        return "m" if self.index in GRIPPERS else "rad"

    def goal(self, q_held: Vector, lower: Vector, upper: Vector) -> Vector:
        """The pose it leads to. A joint that is held outside its limits may only come back. Raises JogError."""
        goal, i = q_held.copy(), self.index
        goal[i] += self.by
        if not min(lower[i], q_held[i]) <= goal[i] <= max(upper[i], q_held[i]):
            raise JogError(
                f"{self.joint} is held at {q_held[i]:.4f} {self.unit}: {self.by:+.4f} leads out of its limits, "
                f"{lower[i]:.4f} to {upper[i]:.4f}"
            )
        return goal
