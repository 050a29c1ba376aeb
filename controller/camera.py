"""A camera process: one camera, its frame ring, and the letterbox that makes a request cheap.

The device's frame is copied straight into shared memory and, once, letterboxed for the policy; a request to the policy
server then only copies finished tiles. What the pictures say about the camera goes into its status. The process ends on
a camera's error and is started again with back-off.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from controller.board import camera_process, frame_ring
from controller.cameras.base import Camera, CameraError, FrameInfo
from controller.cameras.factory import make
from controller.cameras.letterbox import letterbox_chw, picture_part
from controller.child import Child
from controller.faults import FaultCode
from controller.picture_watch import PictureWatch
from shm.writer import Writer

BEAT_S = 0.1
RATE_WINDOW = 15
"""Frames over which the measured rate is taken."""

SEEN = ("same_frames", "t_same_ns", "dark_frames", "brightness", "backwards", "t_backwards_ns")

log = logging.getLogger(__name__)


class Account:
    """Counts frames, those the device skipped or gave twice, and the rate at which they really come."""

    def __init__(self, status: np.ndarray[Any, Any]) -> None:
        self._status = status
        self._arrivals: deque[int] = deque(maxlen=RATE_WINDOW)
        self._last_number: int | None = None

    def add(self, info: FrameInfo, rate_hz: float) -> bool:
        """Whether it is a new frame, by the device's own number."""
        status = self._status
        status["rate_hz"] = rate_hz
        if info.number == self._last_number:
            status["repeated"] += 1
            return False
        status["frames"] += 1
        if self._last_number is not None:
            status["skipped"] += max(info.number - self._last_number - 1, 0)
        self._last_number = info.number
        self._arrivals.append(info.t_arrival_ns)
        return True

    def took(self, letterbox_us: float, watch_us: float) -> None:
        """What the last frame cost."""
        self._status["letterbox_us"], self._status["watch_us"] = letterbox_us, watch_us

    def saw(self, watch: PictureWatch) -> None:
        """What the pictures say."""
        for name in SEEN:
            self._status[name] = getattr(watch, name)

    def measure(self, now_ns: int) -> None:
        """Rate over the last frames; it falls while the next one is overdue."""
        if len(self._arrivals) > 1:
            first_ns, last_ns = self._arrivals[0], self._arrivals[-1]
            overdue_ns = now_ns - round(1e9 / float(self._status["rate_hz"]))
            span_s = (max(last_ns, overdue_ns) - first_ns) * 1e-9
            self._status["measured_hz"] = (len(self._arrivals) - 1) / span_s if span_s > 0 else 0.0


class _NoFrame(Exception):
    """Ends a slot without a record: no frame came, or none that may be shown."""


def complete(record: np.ndarray[Any, Any], info: FrameInfo, rate_hz: float) -> float:
    """Add to a slot's pixels all that goes with them, the tile too; returns the microseconds that the tile took."""
    record["t_exposure_ns"], record["t_arrival_ns"] = info.t_exposure_ns, info.t_arrival_ns
    record["number"], record["exposure_known"] = info.number, info.exposure_known
    record["t_device_ns"], record["exposure_us"] = info.t_device_ns, info.exposure_us
    record["rate_hz"] = rate_hz
    begin_ns = time.monotonic_ns()
    letterbox_chw(record["pixels"], record["tile"])
    record["t_ready_ns"] = ready_ns = time.monotonic_ns()
    return (ready_ns - begin_ns) * 1e-3


def run(child: Child) -> None:
    """Entry of the process."""
    name = child.name.removeprefix(camera_process(""))
    camera = make(name, child.config.cameras[name], child.open("world"))
    try:
        _stream(child, name, camera)
    except CameraError as error:
        child.trip(time.monotonic_ns(), FaultCode.CAMERA_LOST, str(error), int(child.read_permit()["motion_id"]))
        raise
    finally:
        camera.close()


def _stream(child: Child, name: str, camera: Camera) -> None:
    settings, size = child.config.cameras[name], child.config.policy.image_size
    writer = child.open(frame_ring(name)).writer()
    account = Account(child.status)
    watch = PictureWatch(picture_part(settings.height, settings.width, size, size), settings.dark_level)
    camera.open()
    log.info("%s camera, %d x %d at %g Hz", settings.kind, settings.width, settings.height, camera.rate_hz)
    while not child.should_end:
        child.read_permit()
        with suppress(_NoFrame):
            _pass_on(child, camera, writer, account, watch)
        account.saw(watch)
        now_ns = time.monotonic_ns()
        account.measure(now_ns)
        child.beat(now_ns)


def _pass_on(child: Child, camera: Camera, writer: Writer, account: Account, watch: PictureWatch) -> None:
    """One frame from the device into the ring. Raises _NoFrame."""
    with writer.slot() as record:
        info = camera.read(record["pixels"], BEAT_S)
        if info is None or not account.add(info, camera.rate_hz):
            raise _NoFrame
        if not watch.in_order(info.t_exposure_ns, info.t_arrival_ns):
            raise _NoFrame
        letterbox_us = complete(record, info, camera.rate_hz)
    child.board.frame_wake.set()
    # nobody waits for this; and the slot is written by nobody else
    begin_ns = time.monotonic_ns()
    watch.look(record["tile"], info.t_arrival_ns)
    account.took(letterbox_us, (time.monotonic_ns() - begin_ns) * 1e-3)
