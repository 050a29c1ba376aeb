"""An Intel RealSense camera by its serial number: colour only, through the SDK's sensor, without its pipeline.

Run in a camera process. The SDK keeps one frame, the newest, and each is copied out at once. Which of the device's
sensors gives colour is looked up: in a D405 it is the stereo module, in others one of its own. A camera that goes quiet
is reset before the process ends; the supervisor's back-off gives it the time to come back.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyrealsense2 as rs  # type: ignore[import-untyped]

from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.config_camera import Camera as CameraConfig
from controller.device_clock import DeviceClock, is_believable, wall_to_monotonic_ns

FIRST_FRAME_S = 5.0
"""A camera that has just been opened may take so long."""

SILENT_S = 2.0
"""One that has delivered and is quiet for so long is reset."""

LONGEST_EXPOSURE_US = 200_000

log = logging.getLogger(__name__)


def connected() -> list[Any]:
    """Every RealSense device that can be asked for its serial number."""
    found = rs.context().query_devices()
    devices = []
    for index in range(len(found)):
        with contextlib.suppress(RuntimeError):  # another process is just opening it
            devices.append(found[index])
    return devices


def serials(devices: Iterable[Any]) -> dict[str, str]:
    """Model by serial number."""
    return {device.get_info(rs.camera_info.serial_number): device.get_info(rs.camera_info.name) for device in devices}


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keeps the camera processes from looking for their cameras at once: who looks opens every camera for a moment."""
    with Path(__file__).open("rb") as any_file_of_ours:
        fcntl.flock(any_file_of_ours, fcntl.LOCK_EX)
        yield


class RealsenseCamera(Camera):
    """One device, as the configuration wants it; devices: what is connected."""

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        devices: Callable[[], list[Any]] = connected,
        clock: Callable[[], int] = time.monotonic_ns,
        wall_clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name = name
        self._config = config
        self._devices = devices
        self._clock = clock
        self._wall_clock = wall_clock
        self._device: Any = None
        self._sensor: Any = None
        self._queue: Any = None
        self._exposure_unit_us = 1
        self._device_clock = DeviceClock()
        self._quiet_since_ns = 0
        self._patience_s = FIRST_FRAME_S

    @property
    def rate_hz(self) -> float:
        return self._config.rate_hz

    def open(self) -> None:
        with self._sdk("cannot be opened; does another program use it?"), _one_at_a_time():
            self._device = self._find()
            sensor, profile = self._colour()
            self._expose(sensor)
            queue = rs.frame_queue(1)  # the newest one only
            sensor.open(profile)
            self._sensor = sensor
            sensor.start(queue)
            usb, firmware = self._info("usb_type_descriptor"), self._info("firmware_version")
        self._queue, self._device_clock = queue, DeviceClock()
        self._quiet_since_ns, self._patience_s = self._clock(), FIRST_FRAME_S
        log.info("serial=%s usb=%s firmware=%s", self._config.serial, usb, firmware)

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        if self._queue is None:
            raise CameraError(f"{self._name} is not open; call open() first")
        with self._sdk("failed"):
            there, frame = self._queue.try_wait_for_frame(round(timeout_s * 1e3))
            t_arrival_ns = self._clock()
            if not there:
                self._check_silence(t_arrival_ns)
                return None
            self._quiet_since_ns, self._patience_s = t_arrival_ns, SILENT_S
            pixels = np.asanyarray(frame.get_data())
            if pixels.shape != out.shape:
                raise CameraError(f"{self._named} sent a frame of {pixels.shape}, asked for {out.shape}")
            out[...] = pixels
            return self._dated(frame, t_arrival_ns)

    def close(self) -> None:
        sensor, self._sensor, self._queue, self._device = self._sensor, None, None, None
        if sensor is not None:
            for end in (sensor.stop, sensor.close):
                with contextlib.suppress(RuntimeError):  # it was unplugged, or never started
                    end()

    @property
    def _named(self) -> str:
        return f"{self._name}: RealSense {self._config.serial}"

    @contextlib.contextmanager
    def _sdk(self, what: str) -> Iterator[None]:
        """The SDK raises bare RuntimeErrors."""
        try:
            yield
        except CameraError:
            raise
        except RuntimeError as error:
            raise CameraError(f"{self._named} {what}: {error}") from error

    def _info(self, name: str) -> str:
        info = getattr(rs.camera_info, name)
        return str(self._device.get_info(info)) if self._device.supports(info) else "unknown"

    def _find(self) -> Any:
        devices = self._devices()
        for device in devices:
            if device.get_info(rs.camera_info.serial_number) == self._config.serial:
                return device
        found = ", ".join(f"{serial} ({model})" for serial, model in serials(devices).items())
        raise CameraError(
            f"{self._named} is not connected; found: {found or 'none'}. "
            "Check its cable and the serial number in the configuration"
        )

    def _colour(self) -> tuple[Any, Any]:
        """The sensor that gives colour, and its profile of the size and rate that are asked for."""
        wanted = (self._config.width, self._config.height, self._config.rate_hz)
        offered: dict[tuple[int, int, float], tuple[Any, Any]] = {}
        for sensor in self._device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() == rs.stream.color and profile.format() == rs.format.rgb8:
                    video = profile.as_video_stream_profile()
                    offered.setdefault((video.width(), video.height(), float(video.fps())), (sensor, profile))
        if wanted not in offered:
            rates = [f"{rate:g}" for *size, rate in sorted(offered) if tuple(size) == wanted[:2]]
            sizes = ", ".join(f"{width}x{height}" for width, height in sorted({key[:2] for key in offered}))
            can = f"{wanted[0]}x{wanted[1]} at {', '.join(rates)} Hz" if rates else f"sizes {sizes or 'none'}"
            raise CameraError(
                f"{self._named} has no colour of {wanted[0]}x{wanted[1]} at {wanted[2]:g} Hz; it has {can}. "
                "On a USB 2 port it has fewer"
            )
        return offered[wanted]

    def _expose(self, sensor: Any) -> None:
        """Exposure and gain as configured; in the dark the rate is kept, not the brightness."""
        by_hand = self._config.exposure_us is not None
        self._exposure_unit_us = 100 if sensor.is_color_sensor() else 1  # UVC's unit, and the stereo module's
        for option, value in (
            (rs.option.global_time_enabled, 1),
            (rs.option.auto_exposure_priority, 0),
            (rs.option.enable_auto_exposure, 0 if by_hand else 1),
        ):
            if sensor.supports(option):
                sensor.set_option(option, value)
        if self._config.exposure_us is not None:
            units = round(self._config.exposure_us / self._exposure_unit_us)
            self._set(sensor, rs.option.exposure, "exposure_us", units, self._exposure_unit_us)
        if self._config.gain is not None:
            self._set(sensor, rs.option.gain, "gain", self._config.gain, 1)

    def _set(self, sensor: Any, option: Any, key: str, value: int, unit: int) -> None:
        if not sensor.supports(option):
            raise CameraError(f"{self._named} has no {key}; remove it from the configuration")
        bounds = sensor.get_option_range(option)
        if not bounds.min <= value <= bounds.max:
            raise CameraError(
                f"{self._named}: {key} = {value * unit} is beyond {bounds.min * unit:g}..{bounds.max * unit:g}"
            )
        sensor.set_option(option, value)

    def _check_silence(self, now_ns: int) -> None:
        """Raises CameraError once no frame has come for too long, after a reset of a device that is still there."""
        silent_s = (now_ns - self._quiet_since_ns) * 1e-9
        if silent_s < self._patience_s:
            return
        if not self._device.is_connected():
            raise CameraError(f"{self._named} was unplugged; check its cable")
        try:
            self._device.hardware_reset()
            then = "it was reset"
        except RuntimeError as error:
            then = f"its reset failed: {error}; unplug it and plug it in again"
        raise CameraError(f"{self._named} sent no frame for {silent_s:.1f} s; {then}")

    def _dated(self, frame: Any, t_arrival_ns: int) -> FrameInfo:
        exposure_us = _metadata(frame, "actual_exposure")
        if exposure_us is not None:
            exposure_us *= self._exposure_unit_us
        t_device_ns = round(frame.get_timestamp() * 1e6)
        t_middle_ns = t_device_ns - round(_since_middle_us(frame, exposure_us) * 1e3)
        t_exposure_ns, known = self._on_our_clock(frame.get_frame_timestamp_domain(), t_middle_ns, t_arrival_ns)
        exposure_us = math.nan if exposure_us is None else exposure_us
        return FrameInfo(t_exposure_ns, t_arrival_ns, frame.get_frame_number(), known, t_device_ns, exposure_us)

    def _on_our_clock(self, domain: Any, t_middle_ns: int, t_arrival_ns: int) -> tuple[int, bool]:
        """The middle of the exposure on CLOCK_MONOTONIC, and whether the device told enough to know it."""
        t_exposure_ns, known = t_arrival_ns, False  # system_time: the host's stamp of the arrival, no better than ours
        if domain == rs.timestamp_domain.global_time:  # the SDK keeps account of the device's clock and ours
            t_exposure_ns, known = wall_to_monotonic_ns(t_middle_ns, self._wall_clock(), self._clock()), True
        elif domain == rs.timestamp_domain.hardware_clock:
            t_exposure_ns = self._device_clock.to_host_ns(t_middle_ns, t_arrival_ns)
        return (t_exposure_ns, known) if is_believable(t_exposure_ns, t_arrival_ns) else (t_arrival_ns, False)


def _metadata(frame: Any, name: str) -> float | None:
    key = getattr(rs.frame_metadata_value, name)
    return float(frame.get_frame_metadata(key)) if frame.supports_frame_metadata(key) else None


def _since_middle_us(frame: Any, exposure_us: float | None) -> float:
    """From the middle of the exposure to the frame's own stamp, which is that of the read-out after it."""
    stamp_us, middle_us = _metadata(frame, "frame_timestamp"), _metadata(frame, "sensor_timestamp")
    if stamp_us is not None and middle_us is not None:
        between_us = (stamp_us - middle_us) % 2**32  # of a counter of 32 bits
        if between_us <= LONGEST_EXPOSURE_US:
            return between_us
    return (exposure_us or 0.0) / 2
