"""The recorder process: writes every motion, and the seconds before every fault, to a directory of its own.

Ordinary scheduling, niced. It only reads rings, so nobody ever waits for it. All rings are drained all the time, also
between motions: how a motion began and how a fault came is what people look at. `recording` has the files, `blackbox`
what is kept of a fault.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controller.blackbox import BlackBox
from controller.child import Child
from controller.feeds import Event, Feeds
from controller.film import Film
from controller.recording import VIDEO
from controller.recording_writer import Motion, RecordingWriter, described, stamp, wall_time
from controller.run_options import RunOptions, Seam
from controller.states import MOVING, State
from controller.video import VideoUnavailable

PERIOD_S = 0.05
"""The rings hold six seconds: ample for a slow disk and for encoding in between."""

BEFORE_NS = 1_000_000_000
AFTER_NS = 500_000_000
"""How much is recorded before and after a motion; the arms brake in less."""

log = logging.getLogger(__name__)


class Recorder:
    """Begins a recording with each motion, ends it a little after, and survives a disk that refuses."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._enabled = child.config.recorder.enabled
        self._root = Path(child.config.recorder.directory).absolute()
        self._feeds = Feeds(child)
        self._black_box = BlackBox(child, self._feeds)
        orders = child.open("link_order")
        self._orders, self._order = orders.reader(), orders.blank()
        self._writer: RecordingWriter | None = None
        self._film = _film(child) if self._enabled else None
        self._motion_id = 0
        self._t_moving_ns = 0
        self._dropped_before = 0

    def step(self, now_ns: int, state: int, motion_id: int) -> None:
        """Drain everything; record it if there is a motion or was a fault. state, motion_id: of the permit."""
        moving = state in MOVING and self._enabled
        if moving:
            self._t_moving_ns = now_ns
        try:
            if moving and motion_id != self._motion_id:
                self.end(now_ns)
                self._motion_id = motion_id
                self._begin(now_ns, state)
            self._write(now_ns)
            if now_ns > self._t_moving_ns + AFTER_NS:
                self.end(now_ns)
        except OSError as error:
            self._give_up(error)
        self._black_box.step(now_ns)
        self._tell()

    def close(self, now_ns: int) -> None:
        """The process ends: so does what is being recorded."""
        self.end(now_ns)
        self._black_box.end(now_ns)

    def end(self, now_ns: int) -> None:
        """Close the recording, if there is one."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        self._shoot(Film.end)
        try:
            writer.close(now_ns, {"dropped": self._dropped, "video_frames": self._film.frames if self._film else 0})
        except OSError as error:
            log.warning("the recording of motion %d lacks its totals: %s", self._motion_id, error)
        log.info("recorded %d rows, %d dropped: %s", writer.rows, self._dropped, writer.directory)

    @property
    def _dropped(self) -> int:
        return self._feeds.dropped - self._dropped_before

    def _begin(self, now_ns: int, state: int) -> None:
        running = state == State.RUNNING.code
        prompt, options = "", None
        if running and self._orders.newest(self._order):
            prompt = self._order["prompt"].item().decode(errors="replace")
            options = self._options()
        motion = Motion(self._motion_id, "run" if running else "home", prompt, now_ns, options)
        self._dropped_before += self._dropped
        directory = self._root / f"{stamp(wall_time(now_ns))}-{motion.kind}-{motion.motion_id}"
        self._writer = RecordingWriter(directory, described(motion, self._child.config))
        self._child.status["directory"] = str(directory).encode()[:240]
        self._append(*self._feeds.between(now_ns - BEFORE_NS, now_ns))
        video = directory / VIDEO
        self._shoot(lambda film: film.begin(video, now_ns))

    def _options(self) -> RunOptions:
        permit = self._child.orders
        seam, horizon = Seam(int(permit["seam"])), int(self._order["execution_horizon"])
        return RunOptions(seam, float(permit["speed"]), bool(permit["dry"]), horizon)

    def _write(self, now_ns: int) -> None:
        rows, events = self._feeds.drain()
        if self._writer is not None:
            self._append(rows, events)
            self._shoot(lambda film: film.step(now_ns))

    def _append(self, rows: dict[str, bytes], events: list[Event]) -> None:
        if self._writer is None:
            return
        for name, batch in rows.items():
            self._writer.append(name, batch)
        for event in events:
            self._writer.event(*event)

    def _shoot(self, act: Callable[[Film], None]) -> None:
        """A video that fails ends alone: the rows of its motion go on."""
        if self._film is None:
            return
        try:
            act(self._film)
        except VideoUnavailable as error:
            log.warning("the video of motion %d is missing or ends early: %s", self._motion_id, error)
            if act is not Film.end:
                self._shoot(Film.end)

    def _give_up(self, error: OSError) -> None:
        """Said once; the next motion is tried again."""
        log.error("motion %d is not recorded: %s; make room or correct recorder.directory", self._motion_id, error)
        self._shoot(Film.end)
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _tell(self) -> None:
        status: Any = self._child.status
        status["recording"] = self._writer is not None
        if self._writer is not None:
            status["rows"] = self._writer.rows
            status["dropped"] = self._dropped
            status["video_frames"] = self._film.frames if self._film else 0


def _film(child: Child) -> Film | None:
    if not (child.config.recorder.video_rate_hz > 0 and child.config.cameras):
        log.info("recordings have no video: recorder.video_rate_hz is 0 or there is no camera")
        return None
    try:
        return Film(child)
    except VideoUnavailable as error:
        log.warning("recordings have no video: %s", error)
        return None


def run(child: Child) -> None:
    """Entry of the recorder process."""
    recorder = Recorder(child)
    video_rate_hz = child.config.recorder.video_rate_hz
    period_s = min(PERIOD_S, 0.5 / video_rate_hz) if video_rate_hz > 0 else PERIOD_S
    while True:
        permit = child.read_permit()
        now_ns = time.monotonic_ns()
        recorder.step(now_ns, int(permit["state"]), int(permit["motion_id"]))
        child.beat(now_ns)
        if child.should_end:
            break
        time.sleep(period_s)
    recorder.close(time.monotonic_ns())
