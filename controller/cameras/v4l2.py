"""Any UVC camera through the kernel's V4L2: its own stamps and sequence numbers, MJPEG or YUYV turned into RGB.

Run in a camera process. Of the frames that wait only the newest is decoded. Frames that the kernel marks as damaged,
or that cannot be decoded, are left out, and the sequence number shows the gap.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from linuxpy.video import device as v4l2  # type: ignore[import-untyped]
from linuxpy.video import raw
from PIL import Image as Pillow

from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.config_camera import Camera as CameraConfig
from controller.device_clock import is_believable

BUFFERS = 4
FORMATS = {"mjpeg": "MJPG", "yuyv": "YUYV"}
SAME_RATE = 0.01

BY_HAND, BY_ITSELF = (1, 2), (3, 0)
"""Values of V4L2_CID_EXPOSURE_AUTO, the usual one first: the time that is set, and the time that the camera finds. The
second of each says that it sees to an iris as well."""

EXPOSURE_UNIT_US = 100

SILENT_S = 3.0
"""A camera that sends no picture for so long is lost."""

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""FFmpeg's quicker ways are two levels too dark."""

log = logging.getLogger(__name__)
logging.getLogger("linuxpy").setLevel(logging.WARNING)


def named(folder: Path = Path("/dev/v4l/by-id")) -> list[str]:
    """The lasting names of the cameras that are connected; the pictures come from a camera's first interface."""
    return sorted(str(path) for path in folder.glob("*-video-index0"))


class V4l2Camera(Camera):
    """One device file, as the configuration wants it."""

    def __init__(self, name: str, config: CameraConfig, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._device: Any = None
        self._capture: Any = None
        self._reader: Any = None
        self._shades = (Colorspace.ITU601, ColorRange.MPEG)
        self._quiet_since_ns = 0
        self._damage = ""

    @property
    def rate_hz(self) -> float:
        return self._config.rate_hz

    def open(self) -> None:
        with self._kernel("cannot be opened"):
            self._device = v4l2.Device(self._config.device)
            self._device.open()
            self._capture = v4l2.VideoCapture(self._device, BUFFERS)
            self._set_format()
            self._expose()
            self._capture.open()
            self._reader = v4l2.FrameReader(self._device, self._capture.buffer.raw_read)
            info = self._device.info
            log.info("device=%s card=%s bus=%s", self._config.device, info.card, info.bus_info)
        self._quiet_since_ns = self._clock()

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        if self._reader is None:
            raise CameraError(f"{self._name} is not open; call open() first")
        with self._kernel("failed"):
            frame = self._next(timeout_s)
            while frame is not None and (newer := self._next(0.0)) is not None:
                frame = newer
        t_arrival_ns = self._clock()
        if frame is None or not self._decode(frame, out):
            self._check_silence(t_arrival_ns)
            return None
        self._quiet_since_ns, self._damage = t_arrival_ns, ""
        return self._dated(frame, t_arrival_ns)

    def close(self) -> None:
        for opened in (self._capture, self._device):
            if opened is not None:
                with contextlib.suppress(OSError):  # it was unplugged
                    opened.close()
        self._device = self._capture = self._reader = None

    @contextlib.contextmanager
    def _kernel(self, what: str) -> Iterator[None]:
        """What linuxpy raises, of many families, as a CameraError with this camera's name."""
        try:
            yield
        except CameraError:
            raise
        except Exception as error:
            found = "" if Path(self._config.device or "").exists() else f"; found: {', '.join(named()) or 'none'}"
            text = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            raise CameraError(f"{self._name}: {self._config.device} {what}: {text}{found}") from error

    def _next(self, timeout_s: float) -> Any:
        """The oldest frame that waits, copied; None when none came."""
        try:
            return self._reader.read(timeout_s)
        except BlockingIOError:  # the kernel woke us for nothing
            return None

    def _set_format(self) -> None:
        """Size, coding and rate. Raises CameraError where the driver chose others: it does not refuse."""
        config, wanted = self._config, FORMATS[self._config.pixel_format]
        self._capture.set_format(config.width, config.height, wanted)
        pix = v4l2.get_raw_format(self._device, v4l2.BufferType.VIDEO_CAPTURE).fmt.pix
        got = v4l2.human_pixel_format(pix.pixelformat)
        if (pix.width, pix.height, got) != (config.width, config.height, wanted):
            raise CameraError(
                f"{self._name}: {config.device} has no {wanted} of {config.width}x{config.height}, it would give "
                f"{got} of {pix.width}x{pix.height}; see v4l2-ctl --list-formats-ext"
            )
        self._shades = _shades(pix)
        self._capture.set_fps(config.rate_hz)
        got_hz = float(self._capture.get_fps())
        if abs(got_hz - config.rate_hz) > SAME_RATE * config.rate_hz:
            raise CameraError(
                f"{self._name}: {config.device} gives {got_hz:g} Hz, configured are {config.rate_hz:g} Hz; "
                "see v4l2-ctl --list-formats-ext"
            )

    def _expose(self) -> None:
        """Exposure and gain as configured; in the dark the rate is kept, not the brightness."""
        ids, config = v4l2.ControlID, self._config
        self._choose(ids.EXPOSURE_AUTO, BY_ITSELF if config.exposure_us is None else BY_HAND)
        self._set(ids.EXPOSURE_AUTO_PRIORITY, 0)
        if config.exposure_us is not None:
            units = round(config.exposure_us / EXPOSURE_UNIT_US)
            self._set(ids.EXPOSURE_ABSOLUTE, units, "exposure_us", EXPOSURE_UNIT_US)
        if config.gain is not None:
            self._set(ids.GAIN, config.gain, "gain")

    def _choose(self, control_id: int, values: tuple[int, ...]) -> None:
        """The first of these values that the camera's menu has; a camera may lack the menu."""
        with contextlib.suppress(KeyError):
            menu = self._device.controls[control_id]
            if not (offered := [value for value in values if value in menu]):
                raise CameraError(
                    f"{self._name}: {self._config.device} offers {menu.name} = {', '.join(menu.values())} only; "
                    + ("set exposure_us" if values is BY_ITSELF else "remove exposure_us")
                )
            menu.value = offered[0]

    def _set(self, control_id: int, value: int, key: str = "", unit: int = 1) -> None:
        """key: of the configuration, empty for what a camera may lack."""
        try:
            control = self._device.controls[control_id]
        except KeyError:
            if key:
                raise CameraError(f"{self._name}: {self._config.device} has no {key}; remove it") from None
            return
        if key and not control.minimum <= value <= control.maximum:  # linuxpy would clip it
            raise CameraError(
                f"{self._name}: {key} = {value * unit} is beyond {control.minimum * unit}..{control.maximum * unit} "
                f"of {self._config.device}"
            )
        control.value = value

    def _decode(self, frame: Any, out: Image) -> bool:
        """Whether there is a picture in it."""
        if v4l2.BufferFlag.ERROR in frame.flags:
            self._damage = "; the kernel marks its frames as damaged"
            return False
        try:
            if self._config.pixel_format == "yuyv":
                decode_yuyv(frame.data, out, *self._shades)
            else:
                decode_mjpeg(frame.data, out)
        except (OSError, ValueError) as error:
            self._damage = f"; {error}"
            return False
        return True

    def _check_silence(self, now_ns: int) -> None:
        silent_s = (now_ns - self._quiet_since_ns) * 1e-9
        if silent_s >= SILENT_S:
            raise CameraError(
                f"{self._name}: {self._config.device} sent no picture for {silent_s:.1f} s{self._damage}; "
                "check its cable"
            )

    def _dated(self, frame: Any, t_arrival_ns: int) -> FrameInfo:
        """The kernel stamps a frame where its exposure or its transfer begins (SOE) or where that ends (EOF)."""
        flags, stamp = frame.flags, frame.buff.timestamp
        t_device_ns = (stamp.secs * 1_000_000 + stamp.usecs) * 1000
        ours = flags & v4l2.BufferFlag.TIMESTAMP_MASK == v4l2.BufferFlag.TIMESTAMP_MONOTONIC
        begins = flags & v4l2.BufferFlag.TSTAMP_SRC_MASK == v4l2.BufferFlag.TSTAMP_SRC_SOE
        usable = ours and is_believable(t_device_ns, t_arrival_ns)
        return FrameInfo(
            t_device_ns if usable else t_arrival_ns,
            t_arrival_ns,
            frame.frame_nb,
            usable and begins,
            t_device_ns,
            math.nan if self._config.exposure_us is None else float(self._config.exposure_us),
        )


def _shades(pix: Any) -> tuple[Colorspace, ColorRange]:
    """How the driver says that its YUV is meant; what it leaves open is BT.601 of limited range."""
    by_default = pix.colorspace == raw.Colorspace.REC709 and pix.ycbcr_enc == raw.YcbcrEncoding.DEFAULT
    hd = by_default or pix.ycbcr_enc == raw.YcbcrEncoding._709  # noqa: SLF001  its name begins so
    full = pix.quantization == raw.Quantization.FULL_RANGE
    return Colorspace.ITU709 if hd else Colorspace.ITU601, ColorRange.JPEG if full else ColorRange.MPEG


def decode_yuyv(data: bytes, out: Image, space: Colorspace, span: ColorRange) -> None:
    """YUYV into `out` ((height, width, 3) RGB). Raises ValueError where it is of another size."""
    height, width = out.shape[:2]
    if len(data) != 2 * width * height:
        raise ValueError(f"a YUYV frame of {len(data)} bytes came, {width}x{height} has {2 * width * height}")
    packed = np.frombuffer(data, np.uint8).reshape(height, width, 2)
    out[...] = av.VideoFrame.from_ndarray(packed, format="yuyv422").to_ndarray(
        format="rgb24",
        src_colorspace=space,
        dst_colorspace=space,
        src_color_range=span,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
    )


def decode_mjpeg(data: bytes, out: Image) -> None:
    """A picture of an MJPEG stream into `out`. Raises OSError or ValueError where it is damaged or of another size."""
    with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixels.shape != out.shape:
        came, wanted = pixels.shape, out.shape
        raise ValueError(f"a picture of {came[1]}x{came[0]} came, asked for {wanted[1]}x{wanted[0]}")
    out[...] = pixels
