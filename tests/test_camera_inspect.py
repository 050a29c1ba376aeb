"""What the inspection of one camera finds, on a camera that a test plays."""

import math
import re

import numpy as np
import pytest
from camera_rig import Clock

from controller.cameras.base import Camera, CameraError, FrameInfo
from controller.cameras.inspect import FIRST_FRAME_S, inspect
from controller.config_camera import Camera as CameraConfig
from controller.findings import Level

CONFIG = CameraConfig(kind="pattern", width=64, height=48)
MS = 1_000_000


class Played(Camera):
    """Frames every `period_ms`; `change(index, info)` spoils them."""

    rate_hz = 30.0

    def __init__(self, clock, period_ms=33.3, grey=100, late_ms=40, change=lambda index, info: info):
        self._clock, self._period_ns, self._grey, self._late_ns = clock, round(period_ms * MS), grey, late_ms * MS
        self._change, self._count, self.is_open = change, 0, False

    def open(self):
        self.is_open = True

    def close(self):
        self.is_open = False

    def read(self, out, timeout_s):
        self._clock.now_ns += self._period_ns
        out[...] = self._grey
        self._count += 1
        now_ns = self._clock.now_ns
        return self._change(self._count, FrameInfo(now_ns - self._late_ns, now_ns, self._count, True, 1, 8000.0))


def look(clock=None, seconds=2.0, config=CONFIG, **played):
    clock = clock or Clock()
    camera = Played(clock, **played)
    found = inspect("cam_low", config, seconds, lambda *_: camera, clock)
    assert not camera.is_open
    return {finding.subject.removeprefix("cam_low").strip(): finding for finding in found}


def test_a_good_camera():
    found = look()
    assert {subject: finding.level for subject, finding in found.items()} == dict.fromkeys(
        ("", "rate", "frames", "latency", "light", "exposure"), Level.OK
    )
    assert found[""].text == "pattern, 64x48, RGB"
    assert found["rate"].text == "30.03 Hz, set to 30 Hz, over 2.0 s"
    assert found["frames"].text.startswith("62 frames, 0 skipped, 0 repeated")
    assert found["latency"].text == "exposure to memory 40.0 ms, at most 40.0 ms"
    assert found["light"].text == "brightness 100 of 255"
    assert found["exposure"].text == "8000 us"


def renumbered(index, info):
    info.number = {5: 4, 9: 12}.get(index, index + 3 if index > 9 else index)
    return info


def dateless(index, info):
    info.exposure_known, info.exposure_us = False, math.nan
    return info


def long(index, info):
    info.exposure_us = 30_000.0
    return info


@pytest.mark.parametrize(
    ("played", "subject", "level", "said"),
    [
        ({"period_ms": 34.8}, "rate", Level.WARN, r"28.74 Hz, set to 30 Hz, .*bound 29.1"),
        ({"period_ms": 66.7}, "rate", Level.FAIL, "14.99 Hz"),
        ({"change": renumbered}, "frames", Level.WARN, r"4 skipped, 1 repeated"),
        ({"late_ms": 140}, "latency", Level.WARN, r"140.0 ms, .*bound 100 ms"),
        ({"grey": 3}, "light", Level.FAIL, r"brightness 3 of 255 \(bound 8\)"),
        ({"grey": 250}, "light", Level.WARN, r"brightness 250"),
        ({"change": long}, "exposure", Level.WARN, r"30000 us \(bound 16667 us\)"),
    ],
)
def test_what_is_not_good_is_told_with_its_bound(played, subject, level, said):
    finding = look(**played)[subject]
    assert finding.level is level
    assert re.search(said, finding.text), finding.text


def test_what_the_device_does_not_tell_is_not_made_up():
    found = look(change=dateless)
    assert "exposure" not in found
    assert "not told by the device" in found["latency"].text


def test_a_camera_that_cannot_be_opened_is_told_with_its_own_words():
    def make(*_):
        raise CameraError("cam_low: RealSense 1 is not connected; found: 2 (D405)")

    (only,) = inspect("cam_low", CONFIG, 1.0, make)
    assert only.level is Level.FAIL
    assert "found: 2 (D405)" in only.text
    assert "docs/cameras.md" in only.next_step


def test_a_camera_that_sends_nothing_is_told():
    clock = Clock()
    found = look(clock, change=lambda index, info: None)
    assert "sent no frame within 6 s" in found[""].text
    assert clock.now_ns < (1 + FIRST_FRAME_S + 0.1) * 1e9


def test_a_simulated_camera_is_not_opened():
    (only,) = inspect("cam_low", CameraConfig(kind="sim"), 1.0, lambda *_: pytest.fail("opened"))
    assert only.level is Level.OK


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"kind": "realsense", "serial": "no such"}, "RealSense no such is not connected; found: "),
        ({"kind": "v4l2", "device": "/dev/v4l/by-id/none"}, "/dev/v4l/by-id/none cannot be opened: "),
        ({"kind": "file", "path": "/none.mp4"}, "/none.mp4 cannot be played: "),
    ],
)
def test_a_real_camera_that_is_not_there_is_told_by_its_adapter(config, said):
    (only,) = inspect("cam_low", CameraConfig(**config), 1.0)
    assert only.level is Level.FAIL
    assert said in only.text


def test_it_reads_a_real_adapter():
    found = {finding.subject: finding for finding in inspect("cam_low", CONFIG, 0.2)}
    assert found["cam_low frames"].text.endswith("by the device's own number")
    assert np.isfinite(float(found["cam_low light"].text.split()[1]))
