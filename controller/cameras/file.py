"""A camera that plays a file: a video or a folder of pictures, at its real rate, once or for ever.

Run in a camera process, to try a policy on recorded pictures and to test everything behind a camera. Like a device it
waits for nobody: who reads too late misses frames, and their numbers tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.cameras.pace import Pacer
from controller.config_camera import Camera as CameraConfig

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
BROKEN = (OSError, ValueError, av.FFmpegError)
"""What reading a file may raise."""

Picture = Callable[[], Image]
"""One picture of the file, turned into RGB only when it is shown."""

SAME_RATE = 0.01
"""Part by which a video's rate may differ from the configured one: 29.97 passes for 30."""


class FileCamera(Camera):
    """Its frames count from 1 and go on counting when it begins again; the exposure is the instant a frame is due."""

    def __init__(
        self,
        name: str,
        config: CameraConfig,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._path = Path(config.path or "")
        self._loop = config.loop
        self._shape = (config.height, config.width, 3)
        self._wanted_hz = self._rate_hz = config.rate_hz
        self._clock = clock
        self._sleep = sleep
        self._pacer: Pacer | None = None
        self._film: _Video | _Folder | None = None
        self._pictures: Iterator[Picture] = iter(())
        self._next = 1
        """The number of the picture that comes next from the file."""

    @property
    def rate_hz(self) -> float:
        return self._rate_hz

    def open(self) -> None:
        try:
            self._film = _Folder(self._path) if self._path.is_dir() else _Video(self._path)
        except BROKEN as error:
            raise CameraError(f"{self._name}: {self._path} cannot be played: {error}") from error
        self._rate_hz = self._film.rate_hz or self._wanted_hz
        if abs(self._rate_hz - self._wanted_hz) > SAME_RATE * self._wanted_hz:
            raise CameraError(
                f"{self._name}: {self._path} is a video of {self._rate_hz:g} Hz, configured are "
                f"{self._wanted_hz:g} Hz; change rate_hz of the camera"
            )
        self._pictures = self._film.play()
        self._pacer = Pacer(self._rate_hz, self._clock, self._sleep)

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        if self._pacer is None:
            raise CameraError(f"{self._name} is not open; call open() first")
        beat = self._pacer.wait(timeout_s)
        if beat is None:
            return None
        number, due_ns = beat
        try:
            while self._next < number:  # those nobody was there to see
                self._turn()
            pixels = self._turn()()
        except BROKEN as error:
            raise CameraError(f"{self._name}: {self._path} cannot be read on: {error}") from error
        if pixels.shape != self._shape:
            raise CameraError(
                f"{self._name}: {self._path} shows {pixels.shape[1]}x{pixels.shape[0]}, configured are "
                f"{self._shape[1]}x{self._shape[0]}; change width and height of the camera"
            )
        out[...] = pixels
        return FrameInfo(due_ns, self._clock(), number, exposure_known=True, t_device_ns=due_ns)

    def close(self) -> None:
        self._pacer, self._pictures = None, iter(())
        if self._film is not None:
            self._film.close()
            self._film = None

    def _turn(self) -> Picture:
        """The next picture of the file, of the next round where the last one was shown."""
        picture = next(self._pictures, None)
        if picture is None and self._loop and self._film is not None:
            self._pictures = self._film.play()
            picture = next(self._pictures, None)
        if picture is None:
            raise CameraError(
                f"{self._name}: {self._path} has ended after {self._next - 1} frames; with loop = true it begins anew"
            )
        self._next += 1
        return picture


class _Video:
    """Whatever FFmpeg reads. Raises BROKEN."""

    def __init__(self, path: Path) -> None:
        self._file = av.open(str(path))
        try:
            self._stream = self._file.streams.video[0]
        except IndexError:
            self._file.close()
            raise ValueError("it has no video in it") from None
        self._stream.codec_context.thread_count = 1  # the other cores have arms to move
        rate = self._stream.average_rate
        self.rate_hz = float(rate) if rate else 0.0

    def play(self) -> Iterator[Picture]:
        """From the beginning."""
        self._file.seek(0)
        for frame in self._file.decode(self._stream):
            yield partial(_rgb, frame)

    def close(self) -> None:
        self._file.close()


class _Folder:
    """The pictures of a folder, in the order of their names. Raises BROKEN."""

    rate_hz = 0.0
    """It has none of its own."""

    def __init__(self, path: Path) -> None:
        self._paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in PICTURES)
        if not self._paths:
            raise ValueError(f"the folder has no pictures ({', '.join(PICTURES)})")

    def play(self) -> Iterator[Picture]:
        """From the first one."""
        for path in self._paths:
            yield partial(_load, path)

    def close(self) -> None:
        pass


def _rgb(frame: av.VideoFrame) -> Image:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _load(path: Path) -> Image:
    with Pillow.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
