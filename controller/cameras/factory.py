"""Opens the camera that the configuration names. Each adapter, and with it its SDK, is imported only here."""

from __future__ import annotations

from controller.cameras.base import Camera, CameraError
from controller.config_camera import Camera as CameraConfig
from shm import Ring


def make(name: str, config: CameraConfig, world: Ring) -> Camera:
    """The camera, not yet open. Raises CameraError."""
    try:
        return _make(name, config, world)
    except ImportError as error:  # adapters.lacking has seen that it is installed
        raise CameraError(f"{name}: what kind = {config.kind!r} needs cannot be loaded: {error}") from error


def _make(name: str, config: CameraConfig, world: Ring) -> Camera:
    if config.kind == "pattern":
        from controller.cameras.pattern import PatternCamera

        return PatternCamera(name, config.width, config.height, config.rate_hz)
    if config.kind == "sim":
        from controller.cameras.sim import SimCamera

        return SimCamera(name, config.width, config.height, config.rate_hz, world.reader())
    if config.kind == "realsense":
        from controller.cameras.realsense import RealsenseCamera

        return RealsenseCamera(name, config)
    if config.kind == "v4l2":
        from controller.cameras.v4l2 import V4l2Camera

        return V4l2Camera(name, config)
    if config.kind == "file":
        from controller.cameras.file import FileCamera

        return FileCamera(name, config)
    if config.kind == "lerobot":
        from controller.cameras.lerobot import LerobotCamera

        return LerobotCamera(name, config)
    raise CameraError(f"cameras.{name}.kind = {config.kind!r} has no adapter in this version")
