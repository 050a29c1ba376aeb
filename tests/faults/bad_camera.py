"""A camera process that goes bad the way the file <camera>.bad in the daemon's directory says, once it is there.

silent: no frame comes any more. frozen: one picture again and again. dark: the cover is on. backwards: every other
frame is stamped before the one before it. late: exposures lag more and more. crash: ends in a signal of its own.
hang: stands still, deaf to signals. torn: is killed in the middle of writing a frame.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from controller import camera as process
from controller.cameras.base import Camera, FrameInfo, Image
from controller.child import Child

MS = 1_000_000


class BadCamera(Camera):
    """A good camera, spoiled on its way."""

    def __init__(self, good: Camera, orders: Path) -> None:
        self._good, self._orders = good, orders
        self._kept: Image | None = None
        self._t_late_ns = 0

    @property
    def rate_hz(self) -> float:
        return self._good.rate_hz

    def open(self) -> None:
        self._good.open()

    def close(self) -> None:
        self._good.close()

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        info = self._good.read(out, timeout_s)
        word = self._orders.read_text() if self._orders.exists() else ""
        if info is None or not word:
            self._kept, self._t_late_ns = None, 0
            return info
        return getattr(self, word)(out, info)

    def silent(self, out: Image, info: FrameInfo) -> None:
        return None

    def frozen(self, out: Image, info: FrameInfo) -> FrameInfo:
        self._kept = out.copy() if self._kept is None else self._kept
        out[...] = self._kept
        return info

    def dark(self, out: Image, info: FrameInfo) -> FrameInfo:
        out[...] = np.random.default_rng(info.number).integers(0, 5, out.shape)
        return info

    def backwards(self, out: Image, info: FrameInfo) -> FrameInfo:
        info.t_exposure_ns -= info.number % 2 * 100 * MS
        return info

    def late(self, out: Image, info: FrameInfo) -> FrameInfo:
        self._t_late_ns = self._t_late_ns or info.t_exposure_ns
        info.t_exposure_ns -= (info.t_exposure_ns - self._t_late_ns) // 2
        return info

    def crash(self, out: Image, info: FrameInfo) -> FrameInfo:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()

    def hang(self, out: Image, info: FrameInfo) -> FrameInfo:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(60.0)

    def torn(self, out: Image, info: FrameInfo) -> FrameInfo:
        def killed_halfway(_pixels: Image, tile: Image) -> None:
            tile[:, : tile.shape[1] // 2] = 255
            os.kill(os.getpid(), signal.SIGKILL)

        process.letterbox_chw = killed_halfway
        return info


def run(child: Child) -> None:
    name = child.name.split()[-1]
    make = process.make
    process.make = lambda *arguments: BadCamera(make(*arguments), Path(f"{name}.bad"))
    process.run(child)
