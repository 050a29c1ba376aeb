"""A LeRobot camera that shows one picture with a red left half and a blue right half, as soon as it is asked."""

import time
from dataclasses import dataclass

import numpy as np
from lerobot.cameras import Camera, CameraConfig
from lerobot.cameras.configs import ColorMode

RED, BLUE = (250, 20, 10), (10, 20, 250)


@CameraConfig.register_subclass("pi0pattern")
@dataclass(kw_only=True)
class Pi0PatternConfig(CameraConfig):
    """frames: after so many it is lost. late_after: after so many none comes in time."""

    color_mode: ColorMode = ColorMode.RGB
    frames: int = 1000
    late_after: int = 1000


class Pi0Pattern(Camera):
    """Hands out one buffer again and again, as cameras without a copy do."""

    def __init__(self, config):
        super().__init__(config)
        self.config = config
        self._buffer = np.zeros((config.height, config.width, 3), np.uint8)
        self._shown = 0
        self._connected = False

    @property
    def is_connected(self):
        return self._connected

    @staticmethod
    def find_cameras():
        return []

    def connect(self, warmup=True):
        self._connected = True

    def read(self):
        return self.async_read()

    def async_read(self, timeout_ms=200):
        if self._shown >= self.config.frames:
            raise RuntimeError("the read thread has died")
        if self._shown >= self.config.late_after:
            time.sleep(timeout_ms / 1000)
            raise TimeoutError(f"no frame within {timeout_ms} ms")
        self._shown += 1
        half = self.config.width // 2
        self._buffer[:, :half], self._buffer[:, half:] = RED, BLUE
        self._buffer[0, 0] = self._shown
        return self._buffer

    def disconnect(self):
        self._connected = False
        self._buffer[:] = 0
