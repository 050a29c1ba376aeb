"""A camera that needs nothing: a moving test pattern at an exact rate, each frame marked with its number.

Run in a camera process, on machines without a renderer and in tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.cameras.pace import Pacer

BITS = 32
"""The frame's number is painted as this many black and white fields along the top, highest bit first."""

MARK_ROWS = 16
SPEED_PX = 4


class PatternCamera(Camera):
    """Colour bars that wander to the left. width must be a multiple of 32 (one field of the mark per bit)."""

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        rate_hz: float,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if width % BITS or height < 2 * MARK_ROWS:
            raise CameraError(
                f"{name}: a test pattern is a multiple of {BITS} wide and at least {2 * MARK_ROWS} high, "
                f"got {width}x{height}; change the camera's size"
            )
        self._width = width
        self._clock = clock
        self._sleep = sleep
        self._rate_hz = rate_hz
        self._pacer: Pacer | None = None
        self._bars = _bars(sum(name.encode()), 2 * width, height)

    @property
    def rate_hz(self) -> float:
        return self._rate_hz

    def open(self) -> None:
        self._pacer = Pacer(self._rate_hz, self._clock, self._sleep)

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        if self._pacer is None:
            raise CameraError("the test pattern is not open; call open() first")
        beat = self._pacer.wait(timeout_s)
        if beat is None:
            return None
        number, due_ns = beat
        shift = number * SPEED_PX % self._width
        out[:] = self._bars[:, shift : shift + self._width]
        _paint(out, number)
        return FrameInfo(t_exposure_ns=due_ns, t_arrival_ns=self._clock(), number=number, exposure_known=True)

    def close(self) -> None:
        self._pacer = None


def painted_number(picture: Image) -> int:
    """The number painted into a pattern frame, modulo 2**32."""
    field = picture.shape[1] // BITS
    bits = picture[MARK_ROWS // 2, field // 2 :: field, 0] > 127
    return int("".join("1" if bit else "0" for bit in bits), 2)


def _paint(out: Image, number: int) -> None:
    bits = np.frombuffer((number % 2**BITS).to_bytes(BITS // 8, "big"), np.uint8)
    row = np.repeat(np.unpackbits(bits) * np.uint8(255), out.shape[1] // BITS)
    out[:MARK_ROWS] = row[None, :, None]


def _bars(hue: int, width: int, height: int) -> Image:
    """Eight soft colour bars over `width`, repeated after half of it, darker towards the bottom."""
    angle = np.arange(width) * (2 * np.pi * 8 / width)
    rgb = np.stack([np.sin(angle + hue + phase) for phase in (0.0, 2.1, 4.2)], axis=-1)
    fade = np.linspace(1.0, 0.4, height)[:, None, None]
    return ((127.5 + 100.0 * rgb) * fade).astype(np.uint8)
