"""Percentiles of the latencies that the motor process noted with each chunk's first command."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from controller import layout
from shm.reader import Reader

KEPT = 300
OF_MOTION = 100_000
"""Enough for an hour of a run."""


def summary(values: deque[float]) -> dict[str, float | None]:
    """p50, p95, p99 and the last of the values kept, None without any."""
    if not values:
        return {"p50": None, "p95": None, "p99": None, "last": None}
    p50, p95, p99 = np.percentile(np.array(values), (50, 95, 99))
    return {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2), "last": round(values[-1], 2)}


class Latencies:
    """Reads HANDED records and keeps the newest of each kind, in ms."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._record = reader, np.zeros((), layout.HANDED)
        self._kept: dict[str, deque[float]] = {
            name: deque(maxlen=KEPT) for name in ("inference", "round_trip", "end_to_end", "observation_age")
        }
        self._motion_id, self._of_motion = 0, deque[float](maxlen=OF_MOTION)
        summary(deque([0.0]))  # numpy loads what it needs for this at the first call: now, not in mid-motion

    def drain(self) -> None:
        """Take in what came since the last call."""
        while self._reader.next(self._record):
            record = self._record
            handed_ns = int(record["t_handed_ns"])
            values = {
                "inference": float(record["inference_ms"]),
                "round_trip": (int(record["t_received_ns"]) - int(record["t_sent_ns"])) * 1e-6,
                "end_to_end": (handed_ns - int(record["t_frame_ns"])) * 1e-6,
                "observation_age": (handed_ns - int(record["t_exposure_oldest_ns"])) * 1e-6,
            }
            for name, value in values.items():
                if np.isfinite(value):
                    self._kept[name].append(value)
            if self._motion_id != record["motion_id"]:
                self._motion_id = int(record["motion_id"])
                self._of_motion.clear()
            self._of_motion.append(values["end_to_end"])

    def of_motion(self, motion_id: int) -> dict[str, float | None]:
        """End to end in this motion, as far as drained; all None where it is not the newest one that got chunks."""
        return summary(self._of_motion if motion_id == self._motion_id else deque())

    def status(self) -> dict[str, Any]:
        return {f"{name}_ms": summary(values) for name, values in self._kept.items()}
