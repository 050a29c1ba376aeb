"""What a camera really does, measured on it alone: for `pi0ctl doctor`, beside no daemon that holds it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from controller.cameras import factory
from controller.cameras.base import Camera, CameraError, FrameInfo
from controller.config_camera import Camera as CameraConfig
from controller.findings import Finding, Level
from controller.inputs import FRESH_RATE

FIRST_FRAME_S = 6.0
POLL_S = 0.1
FULL_RATE = 0.97
LATENCY_S = 0.1
"""From the middle of the exposure to the frame in memory; a D405 takes about half of it."""

BLUR = 0.5
"""Part of a period beyond which an exposure blurs what moves."""

BRIGHT = 240.0
STRIDE = 8
"""Brightness is taken of every eighth pixel of every eighth row."""

NOT_FOUND = "see docs/cameras.md: its serial number or device file, cable, udev rules; end what else uses it"


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame, and the mean of its pixels."""

    info: FrameInfo
    brightness: float


def inspect(
    name: str,
    config: CameraConfig,
    seconds: float,
    make: Callable[[str, CameraConfig, Any], Camera] = factory.make,
    clock: Callable[[], int] = time.monotonic_ns,
) -> list[Finding]:
    """Opens the camera, looks at it for so long, closes it."""
    if config.kind == "sim":
        return [Finding(Level.OK, name, "is drawn by the simulation; there is nothing to inspect")]
    try:
        camera = make(name, config, None)
        try:
            camera.open()
            return judge(name, config, _watch(camera, config, seconds, clock))
        finally:
            camera.close()
    except CameraError as error:
        return [Finding(Level.FAIL, name, str(error), NOT_FOUND)]


def _watch(camera: Camera, config: CameraConfig, seconds: float, clock: Callable[[], int]) -> list[Seen]:
    """The frames of so many seconds, from the first one on. Raises CameraError where none comes."""
    out = np.zeros((config.height, config.width, 3), np.uint8)
    seen: list[Seen] = []
    end_ns = clock() + round(FIRST_FRAME_S * 1e9)
    while clock() < end_ns:
        info = camera.read(out, POLL_S)
        if info is not None:
            if not seen:
                end_ns = info.t_arrival_ns + round(seconds * 1e9)
            seen.append(Seen(info, float(out[::STRIDE, ::STRIDE].mean())))
    if not seen:
        raise CameraError(f"is open and sent no frame within {FIRST_FRAME_S:g} s")
    return seen


def judge(name: str, config: CameraConfig, seen: list[Seen]) -> list[Finding]:
    """What the frames say about their camera; at least one is there."""
    size = Finding(Level.OK, name, f"{config.kind}, {config.width}x{config.height}, RGB")
    return [size, _rate(name, config, seen), _count(name, seen), _latency(name, seen), *_light(name, config, seen)]


def _rate(name: str, config: CameraConfig, seen: list[Seen]) -> Finding:
    span_ns = seen[-1].info.t_arrival_ns - seen[0].info.t_arrival_ns
    rate_hz = (len(seen) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0
    text = f"{rate_hz:.2f} Hz, set to {config.rate_hz:g} Hz, over {span_ns * 1e-9:.1f} s"
    if rate_hz >= FULL_RATE * config.rate_hz:
        return Finding(Level.OK, f"{name} rate", text)
    step = "give it light or a fixed exposure_us, look at its USB port, and at what else runs here"
    level = Level.WARN if rate_hz >= FRESH_RATE * config.rate_hz else Level.FAIL
    return Finding(level, f"{name} rate", f"{text} (bound {FULL_RATE * config.rate_hz:.1f})", step)


def _count(name: str, seen: list[Seen]) -> Finding:
    numbers = [one.info.number for one in seen]
    skipped = sum(max(after - before - 1, 0) for before, after in pairwise(numbers))
    repeated = sum(after == before for before, after in pairwise(numbers))
    text = f"{len(seen)} frames, {skipped} skipped, {repeated} repeated, by the device's own number"
    if not skipped and not repeated:
        return Finding(Level.OK, f"{name} frames", text)
    return Finding(Level.WARN, f"{name} frames", f"{text} (bound 0)", "look at its USB cable and port")


def _latency(name: str, seen: list[Seen]) -> Finding:
    late_s = [(one.info.t_arrival_ns - one.info.t_exposure_ns) * 1e-9 for one in seen if one.info.exposure_known]
    subject = f"{name} latency"
    if not late_s:
        text = "not told by the device: frames count as exposed when they are stamped, or arrive"
        return Finding(Level.OK, subject, text)
    text = f"exposure to memory {median(late_s) * 1e3:.1f} ms, at most {max(late_s) * 1e3:.1f} ms"
    if median(late_s) <= LATENCY_S:
        return Finding(Level.OK, subject, text)
    step = "look at its USB port and at the load of this machine; MJPEG and large pictures take longer"
    return Finding(Level.WARN, subject, f"{text} (bound {LATENCY_S * 1e3:g} ms)", step)


def _light(name: str, config: CameraConfig, seen: list[Seen]) -> list[Finding]:
    exposures_us = [one.info.exposure_us for one in seen if not math.isnan(one.info.exposure_us)]
    brightness = median(one.brightness for one in seen)
    text, bound_us = f"brightness {brightness:.0f} of 255", BLUR * 1e6 / config.rate_hz
    found = []
    if brightness < config.dark_level:
        step = "take its cover off, give it light, or raise exposure_us"
        found.append(Finding(Level.FAIL, f"{name} light", f"{text} (bound {config.dark_level:g})", step))
    elif brightness > BRIGHT:
        step = "less light, or a smaller exposure_us"
        found.append(Finding(Level.WARN, f"{name} light", f"{text} (bound {BRIGHT:g})", step))
    else:
        found.append(Finding(Level.OK, f"{name} light", text))
    if exposures_us:
        exposed = f"{median(exposures_us):.0f} us"
        if median(exposures_us) <= bound_us:
            found.append(Finding(Level.OK, f"{name} exposure", exposed))
        else:
            step = "moving arms are blurred: give it more light, or a fixed exposure_us with gain"
            found.append(Finding(Level.WARN, f"{name} exposure", f"{exposed} (bound {bound_us:.0f} us)", step))
    return found
