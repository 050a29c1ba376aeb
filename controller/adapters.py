"""Which robots, cameras and guards this version can drive on this machine; looked at before anything starts."""

from __future__ import annotations

from importlib.util import find_spec

from controller.config import Config
from controller.extras import get
from controller.robots import lerobot_types

ROBOTS = ("sim", "trossen", "lerobot")
CAMERAS = ("sim", "pattern", "realsense", "v4l2", "file", "lerobot")

CAMERA_EXTRAS = {
    "realsense": ("pyrealsense2", "realsense"),
    "v4l2": ("linuxpy", "v4l2"),
    "file": ("av", "sim"),
    "lerobot": ("lerobot", "lerobot"),
}
"""The module that a kind of camera needs, and the extra that installs it."""


def lacking(config: Config) -> str:
    """What the configuration asks for and nobody here can drive; empty when all is there."""
    if config.robot.kind not in ROBOTS:
        return f"robot.kind = {config.robot.kind!r}: this version has adapters for {', '.join(ROBOTS)} only"
    if config.robot.kind == "trossen" and find_spec("trossen_arm") is None:
        return f"robot.kind = 'trossen' needs a driver that is not here: {get('trossen')}"
    if config.robot.kind == "lerobot" and find_spec("lerobot") is None:
        return f"robot.kind = 'lerobot' needs LeRobot, which is not here: {get('lerobot')}"
    if (robot := config.robot.lerobot) and (text := lerobot_types.refusal(robot.type, robot.allow_moves, robot.units)):
        return text
    for name, camera in config.cameras.items():
        if camera.kind not in CAMERAS:
            return f"cameras.{name}.kind = {camera.kind!r}: this version has adapters for {', '.join(CAMERAS)} only"
        needed, extra = CAMERA_EXTRAS.get(camera.kind, ("", ""))
        if needed and find_spec(needed) is None:
            return f"cameras.{name}.kind = {camera.kind!r} needs {needed}, which is not installed: {get(extra)}"
    if config.guard.enabled and find_spec("mujoco") is None:
        return (
            f"guard.enabled = true needs MuJoCo, which is not installed: {get('sim')}, "
            "or set guard.enabled = false and watch the arms yourself"
        )
    return ""
