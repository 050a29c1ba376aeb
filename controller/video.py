"""The recording's video: all cameras in one picture, every picture stamped with the instant it shows.

Used by the recorder process alone. PyAV is optional (the `sim` extra) and imported only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

TILE = (320, 240)
"""Width and height of one camera in the mosaic."""

COLUMNS = 2
TICKS_PER_S = 1000
"""Time stamps are whole milliseconds."""

KEYFRAME_S = 2.0

Picture = NDArray[np.uint8]


class VideoUnavailable(RuntimeError):
    """No video can be written. The message says why and what to do."""


def load_pyav() -> Any:
    """Import PyAV, which takes a second on a busy machine. Raises VideoUnavailable."""
    try:
        import av
    except ImportError:
        raise VideoUnavailable("PyAV is not installed; install the 'sim' extra to get videos") from None
    return av


class Mosaic:
    """One picture of many cameras, two side by side, each with its label; aspect ratios are kept."""

    def __init__(self, cameras: Sequence[str]) -> None:
        columns, rows = min(COLUMNS, len(cameras)), -(-len(cameras) // COLUMNS)
        self._font = ImageFont.load_default(12)
        self._canvas = Image.new("RGB", (columns * TILE[0], rows * TILE[1]))
        self._corners = {name: (i % COLUMNS * TILE[0], i // COLUMNS * TILE[1]) for i, name in enumerate(cameras)}

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._canvas.size

    def place(self, camera: str, pixels: Picture | None, note: str = "") -> None:
        """Put in a camera's frame ((height, width, 3) RGB), or nothing for None; `note` follows its name."""
        x, y = self._corners[camera]
        if pixels is None:
            tile = Image.new("RGB", TILE)
        else:
            tile = ImageOps.pad(Image.fromarray(pixels), TILE, method=Image.Resampling.BOX)
        self._canvas.paste(tile, (x, y))
        draw = ImageDraw.Draw(self._canvas)
        text = f"{camera}  {note}" if note else camera
        left, top, right, bottom = draw.textbbox((x + 6, y + 4), text, font=self._font)
        draw.rectangle((left - 3, top - 2, right + 3, bottom + 2), fill=(0, 0, 0))
        draw.text((x + 6, y + 4), text, fill=(255, 255, 255), font=self._font)

    def picture(self) -> Picture:
        """The mosaic as (height, width, 3) RGB."""
        return np.asarray(self._canvas)


class VideoWriter:
    """An H.264 MP4 file with a picture for each instant it was given, playable after a crash too."""

    def __init__(self, path: Path, size: tuple[int, int], rate_hz: float) -> None:
        """rate_hz: pictures per second, for the encoder's planning only. Raises VideoUnavailable."""
        av = load_pyav()
        self._frame = av.VideoFrame.from_ndarray
        self._errors = (OSError, av.FFmpegError)
        self._last = -1
        self.frames = 0
        # finished fragments go to the disk at once and can be played whatever happens after
        options = {"movflags": "frag_keyframe+empty_moov", "flush_packets": "1"}
        try:
            self._disk = path.open("xb", buffering=0)
            self._file = av.open(self._disk, "w", format="mp4", options=options)
            self._stream: Any = self._file.add_stream("libx264", rate=Fraction(rate_hz).limit_denominator(1000))
        except (*self._errors, ValueError) as error:
            raise VideoUnavailable(f"{path}: {error}") from error
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        self._stream.codec_context.thread_count = 1  # the other cores have arms to move
        self._stream.options = {
            "preset": "veryfast",
            "crf": "25",
            "tune": "zerolatency",
            "g": str(max(1, round(KEYFRAME_S * rate_hz))),
        }

    @property
    def open(self) -> bool:
        return not self._disk.closed

    def write(self, t_s: float, picture: Picture) -> None:
        """Add a picture shown from t_s (since the start of the video) on. Raises VideoUnavailable."""
        frame = self._frame(picture, format="rgb24")
        frame.pts = self._last = max(round(t_s * TICKS_PER_S), self._last + 1)
        frame.time_base = Fraction(1, TICKS_PER_S)
        try:
            self._file.mux(self._stream.encode(frame))
        except self._errors as error:
            raise VideoUnavailable(str(error)) from error
        self.frames += 1

    def close(self) -> None:
        """Write what is left. Raises VideoUnavailable."""
        try:
            self._file.mux(self._stream.encode(None))
            self._file.close()
        except self._errors as error:
            raise VideoUnavailable(str(error)) from error
        finally:
            self._disk.close()
