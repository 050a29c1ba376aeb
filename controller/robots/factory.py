"""Opens the robot that the configuration names. Each adapter, and with it its SDK, is imported only here."""

from __future__ import annotations

from typing import Protocol

from controller.config import Config
from controller.findings import Finding
from controller.robots.base import Robot, RobotError
from shm import Ring


class Layable(Protocol):
    """A simulated robot: its scene can be laid out anew."""

    def lay_out(self, seed: int, scene_count: int | None = None) -> None: ...


def make(config: Config, world: Ring) -> tuple[Robot, Layable | None]:
    """The robot, not yet connected, and its scene if it is simulated. Raises RobotError."""
    if config.robot.kind == "sim":
        from controller.robots.sim import SimRobot

        robot = SimRobot(
            world_writer=world.writer(),
            world_reader=world.reader(),
            seed=config.robot.seed,
            velocity_feedforward=config.robot.velocity_feedforward,
        )
        return robot, robot
    if config.robot.kind == "trossen":
        from controller.robots.trossen import TrossenRobot

        return TrossenRobot(config.robot), None
    raise RobotError(f"robot.kind = {config.robot.kind!r} has no adapter in this version; use 'sim'")


def inspect(config: Config) -> list[Finding]:
    """What can be found out about the robot without moving it, for `pi0ctl doctor`; takes the arms meanwhile."""
    if config.robot.kind == "trossen":
        from controller.robots.trossen_inspect import inspect as inspect_trossen

        return inspect_trossen(config)
    return []
