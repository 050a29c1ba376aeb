"""Writes one recording directory; `recording` has its contents. Used by the recorder process."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller import layout
from controller.config import Config
from controller.npylog import NpyLog
from controller.recording import EVENTS, META, ROWS
from controller.robots.base import JOINT_NAMES
from controller.run_options import RunOptions


@dataclass(frozen=True, slots=True)
class Motion:
    """What is recorded: kind is 'home', 'run' or, for a fault's dump, 'fault'; t_ns is when it begins; options: of a
    run, then."""

    motion_id: int
    kind: str
    prompt: str
    t_ns: int
    options: RunOptions | None = None


def wall_time(t_ns: int) -> datetime:
    """The wall time of an instant of CLOCK_MONOTONIC, as the clock stands now."""
    return datetime.fromtimestamp((time.time_ns() - time.monotonic_ns() + t_ns) * 1e-9, UTC)


def stamp(t: datetime) -> str:
    """A wall time (UTC) as directory names begin with it: their order is that of time."""
    return f"{t:%Y%m%dT%H%M%S}.{t.microsecond // 1000:03d}Z"


class RecordingWriter:
    """The open files of one recording. Every method raises OSError when the disk refuses."""

    def __init__(self, directory: Path, meta: dict[str, Any]) -> None:
        """Create the directory, its parents and its files. meta: as `described` makes it."""
        self.directory, self._meta = directory, meta
        self.directory.mkdir(parents=True)
        self._write_meta()
        self._logs = {name: NpyLog(self.directory / f"{name}.npy", dtype) for name, dtype in ROWS.items()}
        self._events = (self.directory / EVENTS).open("x", encoding="utf-8", buffering=1)

    @property
    def rows(self) -> int:
        """Rows written to all files."""
        return sum(log.rows for log in self._logs.values())

    def append(self, name: str, rows: bytes) -> None:
        """Add rows to one of recording.ROWS."""
        self._logs[name].append(rows)

    def event(self, t_ns: int, kind: str, text: str) -> None:
        """Add an event, with its wall time."""
        event = {"t_ns": t_ns, "time": _iso(wall_time(t_ns)), "kind": kind, "text": text}
        self._events.write(json.dumps(event) + "\n")

    def close(self, t_ns: int, totals: dict[str, Any]) -> None:
        """End in order: totals go to meta.json, that of the rows included."""
        self.abandon()
        self._meta |= {
            "ended_monotonic_ns": t_ns,
            "rows": {name: log.rows for name, log in self._logs.items()},
            **totals,
        }
        self._write_meta()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Close the files as they are."""
        for log in self._logs.values():
            log.close()
        self._events.close()

    def _write_meta(self) -> None:
        """In one step: a reader finds the old text or the new one."""
        part = self.directory / f"{META}.part"
        part.write_text(json.dumps(self._meta, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.directory / META)


def _iso(t: datetime) -> str:
    return t.isoformat(timespec="milliseconds")


def described(motion: Motion, config: Config) -> dict[str, Any]:
    """What meta.json says from the beginning."""
    fields = asdict(motion)
    return {
        "started_monotonic_ns": fields.pop("t_ns"),
        **fields,
        "options": motion.options and motion.options.described(),
        "started": _iso(wall_time(motion.t_ns)),
        "layout_version": layout.VERSION,
        "joint_names": JOINT_NAMES,
        "host": platform.node(),
        "kernel": platform.release(),
        "config": config.model_dump(mode="json"),
    }
