"""The videos of the recorder process: the cameras' newest frames, taken from their rings at a steady rate."""

from __future__ import annotations

from pathlib import Path

from controller.board import frame_ring
from controller.child import Child
from controller.video import Mosaic, VideoWriter, load_pyav


class Film:
    """One video after the other. Everything slow is done before the first motion."""

    def __init__(self, child: Child) -> None:
        """Raises VideoUnavailable when this machine cannot make any."""
        load_pyav()
        self._cameras = child.config.cameras
        self._rate_hz = child.config.recorder.video_rate_hz
        self._mosaic = Mosaic(tuple(self._cameras))
        rings = {name: child.open(frame_ring(name)) for name in self._cameras}
        self._readers = {name: ring.reader() for name, ring in rings.items()}
        self._frames = {name: ring.blank() for name, ring in rings.items()}
        self._writer: VideoWriter | None = None
        self._t_start_ns = self._t_due_ns = 0

    @property
    def frames(self) -> int:
        """Pictures in the newest video."""
        return self._writer.frames if self._writer else 0

    def begin(self, path: Path, t_ns: int) -> None:
        """Start a video whose time 0 is t_ns. Raises VideoUnavailable."""
        self._writer = VideoWriter(path, self._mosaic.size, self._rate_hz)
        self._t_start_ns = self._t_due_ns = t_ns

    def step(self, now_ns: int) -> None:
        """Add a picture if one is due; missed ones are skipped. Raises VideoUnavailable."""
        if self._writer is None or not self._writer.open or now_ns < self._t_due_ns:
            return
        period_ns = round(1e9 / self._rate_hz)
        self._t_due_ns += ((now_ns - self._t_due_ns) // period_ns + 1) * period_ns
        for name in self._cameras:
            self._place(name, now_ns)
        self._writer.write((now_ns - self._t_start_ns) * 1e-9, self._mosaic.picture())

    def end(self) -> None:
        """Close the video, if one is open. Raises VideoUnavailable."""
        if self._writer is not None and self._writer.open:
            self._writer.close()

    def _place(self, name: str, now_ns: int) -> None:
        frame = self._frames[name]
        if not self._readers[name].newest(frame, fields=("t_arrival_ns", "pixels")):
            self._mosaic.place(name, None, "no frame yet")
            return
        age_s = (now_ns - int(frame["t_arrival_ns"])) * 1e-9
        stale = age_s > self._cameras[name].max_age_s
        self._mosaic.place(name, frame["pixels"], f"{age_s:.1f} s old" if stale else "")
