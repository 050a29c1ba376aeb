"""A camera that LeRobot can drive: OpenCV's, RealSense's, or a plug-in's, in a camera process of its own.

LeRobot tells neither when a frame was exposed nor its number: a frame is as old as its arrival here, and frames that
the device skipped are not seen. Our own adapters (`realsense`, `v4l2`) tell both; this one is for all other cameras.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from controller import lerobot_library
from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.config_camera import Camera as CameraConfig

SILENT_S = 5.0
"""A camera that gives no frame for so long is lost. LeRobot's own threads wait for one that was unplugged for ever."""


class LerobotCamera(Camera):
    """The camera of [cameras.<name>.lerobot], with our width, height and rate_hz. Raises CameraError."""

    def __init__(self, name: str, config: CameraConfig, clock: Callable[[], int] = time.monotonic_ns) -> None:
        assert config.lerobot is not None  # config_camera.py
        if config.rate_hz != round(config.rate_hz):
            raise CameraError(f"{name}: LeRobot counts frames per second in whole numbers, rate_hz is {config.rate_hz}")
        self._what = f"{name}: LeRobot camera {config.lerobot.type!r}"
        self._size = config.height, config.width, 3
        self._rate_hz = config.rate_hz
        self._clock = clock
        self._number = 0
        self._quiet_since_ns = 0
        settings = {"width": config.width, "height": config.height, "fps": round(config.rate_hz)}
        try:
            self._camera: Any = lerobot_library.make_camera(config.lerobot.type, {**config.lerobot.config, **settings})
        except lerobot_library.LerobotError as error:
            raise CameraError(f"{self._what}: {error}") from error
        colours = _colour_order(self._camera)
        if colours != "rgb":
            raise CameraError(f"{self._what}: colours come as {colours!r}; take color_mode out, the policy wants RGB")

    @property
    def rate_hz(self) -> float:
        return self._rate_hz

    def open(self) -> None:
        try:
            self._camera.connect()
        except Exception as error:  # OSError, ConnectionError, RuntimeError, whatever the SDK raises
            raise CameraError(f"{self._what}: connect: {type(error).__name__}: {error}") from error
        self._quiet_since_ns = self._clock()

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        """`async_read` waits for a frame that has not been shown yet, in every version of LeRobot."""
        try:
            frame = self._camera.async_read(timeout_ms=1e3 * timeout_s)
        except TimeoutError:
            self._check_silence()
            return None
        except Exception as error:
            raise CameraError(f"{self._what}: {type(error).__name__}: {error}") from error
        t_ns = self._quiet_since_ns = self._clock()
        if not isinstance(frame, np.ndarray) or frame.shape != self._size or frame.dtype != np.uint8:
            got = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise CameraError(f"{self._what}: a frame is {got}, must be uint8 {self._size}; correct width and height")
        out[...] = frame  # at once: it may lie in a buffer of the SDK
        self._number += 1
        return FrameInfo(t_exposure_ns=t_ns, t_arrival_ns=t_ns, number=self._number, exposure_known=False)

    def _check_silence(self) -> None:
        silent_s = (self._clock() - self._quiet_since_ns) * 1e-9
        if silent_s >= SILENT_S:
            raise CameraError(f"{self._what}: sent no frame for {silent_s:.1f} s; check its cable")

    def close(self) -> None:
        with suppress(Exception):  # it may never have been connected
            self._camera.disconnect()


def _colour_order(camera: Any) -> str:
    """As the camera or its configuration says, in LeRobot's words; "rgb", LeRobot's own order, if neither does."""
    for owner in (camera, getattr(camera, "config", None)):
        if (mode := getattr(owner, "color_mode", None)) is not None:
            return str(getattr(mode, "value", mode))
    return "rgb"
