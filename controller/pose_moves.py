"""An operator's moves to a pose: home, park, and the jog of one joint. Part of the supervisor.

All of them are state `homing` with a goal in the permit, so planner, limits, guards and faults are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from controller.config_robot import both_arms
from controller.jog import Jog, JogError
from controller.refused import Refused
from controller.robots.base import Vector
from controller.run_options import RunOptions
from controller.states import Trigger

if TYPE_CHECKING:
    from controller.supervisor import Supervisor


class PoseMoves:
    """Each returns once the motion has begun. Raises Refused."""

    def __init__(self, daemon: Supervisor) -> None:
        self._daemon = daemon

    async def home(self, speed: float) -> None:
        await self._daemon.settle()
        self._daemon.require(Trigger.HOME)
        self._begin(Trigger.HOME, both_arms(self._daemon.config.robot.homing.pose), speed)

    async def jog(self, jog: Jog, speed: float) -> None:
        daemon, limits = self._daemon, self._daemon.config.robot.limits
        await daemon.settle()
        daemon.require(Trigger.JOG)
        try:
            goal = jog.goal(daemon.inputs.q_command(), both_arms(limits.lower), both_arms(limits.upper))
        except JogError as error:
            raise Refused(str(error), daemon.allowed()) from error
        self._begin(Trigger.JOG, goal, speed)

    def park(self) -> None:
        """To the configured pose; there must be one."""
        pose = self._daemon.config.robot.park
        assert pose is not None
        self._begin(Trigger.HOME, both_arms(pose), 1.0)

    def _begin(self, trigger: Trigger, goal: Vector, speed: float) -> None:
        self._daemon.orders.begin_motion(goal=goal, options=RunOptions(speed=speed))
        self._daemon.machine.fire(trigger, self._daemon.facts())
