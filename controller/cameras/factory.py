"""Opens the camera that the configuration names. Each adapter, and with it its SDK, is imported only here."""

from __future__ import annotations

from controller.cameras.base import Camera, CameraError
from controller.config_camera import Camera as CameraConfig
from shm import Ring


def make(name: str, config: CameraConfig, world: Ring) -> Camera:
    """The camera, not yet open. Raises CameraError."""
    if config.kind == "pattern":
        from controller.cameras.pattern import PatternCamera

        return PatternCamera(name, config.width, config.height, config.rate_hz)
    if config.kind == "sim":
        from controller.cameras.sim import SimCamera

        return SimCamera(name, config.width, config.height, config.rate_hz, world.reader())
    raise CameraError(f"cameras.{name}.kind = {config.kind!r} has no adapter in this version; use 'sim'")
