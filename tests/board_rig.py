"""A board of rings without a daemon: the other processes' part, for the tests of the recorder process."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import numpy as np
from synthetic import sim_config

from controller.board import OwnedBoard, frame_ring
from controller.child import Child, Spawned
from controller.chronicle import Chronicle

MS = 1_000_000
EPOCH = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
"""Wall time of the instant 0."""


class Daemon:
    """The other processes' part: a board with their rings, and what they would write."""

    def __init__(self, directory, video_rate_hz: float = 0.0, **recorder) -> None:
        config = sim_config()
        small = {name: camera.model_copy(update={"width": 64, "height": 48}) for name, camera in config.cameras.items()}
        changes = {"directory": str(directory), "video_rate_hz": video_rate_hz, **recorder}
        settings = config.recorder.model_copy(update=changes)
        self.config = config.model_copy(update={"cameras": small, "recorder": settings})
        self.owned = OwnedBoard(self.config)
        self._writers = {
            name: ring.writer()
            for name, ring in self.owned.rings.items()
            if "status" not in name and name not in ("event", "fault")
        }
        self._chronicle = Chronicle(self.owned)

    def child(self) -> Child:
        return Child(Spawned("recorder", "controller.recorder", self.config, self.owned.board, os.getppid()))

    def write(self, ring: str, **fields) -> None:
        record = self.owned.rings[ring].blank()
        for name, value in fields.items():
            record[name] = value
        self._writers[ring].write(record)

    def write_joints(self, t_ns: int, motion_id: int) -> None:
        self.write("joints", t_ns=t_ns, t_command_ns=t_ns, motion_id=motion_id, q=np.arange(14) * 0.1)

    def event(self, t_ns: int, kind: str, text: str) -> None:
        self._chronicle.event({"t_ns": t_ns, "kind": kind, "text": text})

    def fault(self, t_ns: int, code: str = "tracking", motion_id: int = 1, state: str = "running") -> None:
        """What the supervisor tells when it latches a fault."""
        time = (EPOCH + timedelta(microseconds=t_ns // 1000)).isoformat(timespec="milliseconds")
        event = {"t_ns": t_ns, "time": time, "kind": "fault", "text": f"{code}: as it happens", "code": code}
        event |= {"message": event["text"], "state_before": state}
        self._chronicle.event(event)
        self._chronicle.fault(event, motion_id, "put the lighter into the cup" if state == "running" else "")

    def frame(self, camera: str, t_ns: int, grey: int) -> None:
        self.write(frame_ring(camera), t_arrival_ns=t_ns, t_exposure_ns=t_ns, pixels=grey)

    def status(self):
        ring = self.owned.rings["status.recorder"]
        record = ring.blank()
        ring.reader().newest(record)
        return record
