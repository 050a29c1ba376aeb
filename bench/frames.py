"""What cameras that cost nothing have seen: pictures long since drawn, a new one of each at 30 Hz."""

from __future__ import annotations

import time

import numpy as np

from controller.cameras.base import Image
from controller.cameras.pattern import PatternCamera
from controller.config_camera import CAMERA_NAMES

HEIGHT, WIDTH, RATE_HZ = 480, 640, 30.0
PICTURES = 8
PERIOD_NS = 1e9 / RATE_HZ


class Frames:
    """Four cameras, whose frames arrive a quarter of a period after one another."""

    shape = (HEIGHT, WIDTH, 3)

    def __init__(self) -> None:
        self._pictures = {name: _pictures(name) for name in CAMERA_NAMES}
        self._begin_ns = time.monotonic_ns() - round(PERIOD_NS)

    def newest(self, now_ns: int) -> tuple[dict[str, Image], int]:
        """The newest picture of each camera, and when the newest of all lay in memory."""
        pictures, instants_ns = {}, []
        for i, (name, own) in enumerate(self._pictures.items()):
            phase_ns = self._begin_ns + i * PERIOD_NS / len(self._pictures)
            number = int((now_ns - phase_ns) // PERIOD_NS)
            pictures[name] = own[number % PICTURES]
            instants_ns.append(phase_ns + number * PERIOD_NS)
        return pictures, round(max(instants_ns))


def _pictures(name: str) -> list[Image]:
    """Of the test pattern that our own cameras show."""
    camera = PatternCamera(name, WIDTH, HEIGHT, 1000.0)
    camera.open()
    pictures = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(PICTURES)]
    for picture in pictures:
        while camera.read(picture, 0.1) is None:
            pass
    return pictures
