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


def make(config: Config, world: Ring, again: bool) -> tuple[Robot, Layable | None]:
    """The robot, not yet connected, and its scene if it is simulated. Raises RobotError.

    again: another process of this daemon was connected before, or tried; nobody watches the arms for what comes now.
    """
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
    if config.robot.kind == "lerobot":
        from controller.robots.lerobot import LerobotRobot

        any_robot = LerobotRobot(
            config.robot, again=again, world_writer=world.writer(), world_reader=world.reader()
        )
        return any_robot, any_robot.scene
    raise RobotError(f"robot.kind = {config.robot.kind!r} has no adapter in this version; use 'sim'")


def inspect(config: Config) -> list[Finding]:
    """What can be found out about the robot without moving it, for `pi0ctl doctor`; takes the arms meanwhile."""
    if config.robot.kind == "trossen":
        from controller.robots.trossen_inspect import inspect as inspect_trossen

        return inspect_trossen(config)
    return []
