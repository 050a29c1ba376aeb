"""One recorded motion, or the seconds before a fault, as a directory: its files and how to read them back, however the
recorder ended.

    meta.json     what, when, on which machine, with which configuration, a run's options at its start; totals once
                  it ended in order; of a fault's dump also "fault": code, message, cause, next_step, state_before,
                  time, t_ns
    ticks.npy     layout.TICK, every control tick
    joints.npy    layout.JOINTS, every command of the motor process
    handed.npy    layout.HANDED, the first command made from each chunk
    chunks.npy    layout.CHUNK, every chunk that the link accepted
    events.jsonl  what the supervisor told, one JSON object per line, with wall time
    video.mp4     of a motion: the cameras side by side; its time 0 is meta["started_monotonic_ns"]

Rows reach back to a second before the motion, five before a fault, so they may carry another motion's number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller import layout, npylog
from controller.config import Config
from controller.dumps import META as META
from controller.states import State

EVENTS, VIDEO = "events.jsonl", "video.mp4"
ROWS = {"ticks": layout.TICK, "joints": layout.JOINTS, "handed": layout.HANDED, "chunks": layout.CHUNK}

Rows = NDArray[np.void]


class RecordingError(Exception):
    """A directory is not a recording that can be read. The message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a directory holds, read into memory; the row types are those of the layout."""

    directory: Path
    ticks: Rows
    joints: Rows
    handed: Rows
    chunks: Rows
    events: list[dict[str, Any]]
    meta: dict[str, Any]

    @classmethod
    def load(cls, directory: Path) -> Recording:
        """Raises RecordingError."""
        try:
            meta = json.loads((directory / META).read_text(encoding="utf-8"))
            rows = {name: npylog.read(directory / f"{name}.npy") for name in ROWS}
            events = _events(directory / EVENTS)
        except (OSError, ValueError) as error:
            raise RecordingError(f"{directory} cannot be read: {error}") from error
        for name, dtype in ROWS.items():
            if rows[name].dtype != dtype:
                raise RecordingError(
                    f"{directory}: {name}.npy has other columns than layout version {layout.VERSION}; "
                    f"it was written by version {meta.get('layout_version')}"
                )
        return cls(directory, **rows, events=events, meta=meta)

    @property
    def motion_id(self) -> int:
        return int(self.meta["motion_id"])

    @property
    def is_run(self) -> bool:
        """A motion that followed the policy, not one to the home pose."""
        return bool(self.meta["kind"] == "run")

    @property
    def fault(self) -> dict[str, Any] | None:
        """The fault that this is the dump of; None for a motion."""
        return self.meta.get("fault")

    @property
    def config(self) -> Config:
        """The configuration that the daemon ran with."""
        return Config.model_validate_json(json.dumps(self.meta["config"]))

    @property
    def dropped(self) -> int:
        """Rows overwritten before the recorder came to them; 0 when it did not live to tell."""
        return int(self.meta.get("dropped", 0))


def ticks_of(run: Recording) -> Rows:
    """The control process's own ticks of a run: without steps between ticks and without what came before."""
    rows = run.ticks
    own: Rows = rows[
        (rows["motion_id"] == run.motion_id) & (rows["state"] == State.RUNNING.code) & (rows["woken"] == 0)
    ]
    return own


def chunks_of(run: Recording) -> Rows:
    """The first commands (HANDED) of the chunks of a run that motion was made from."""
    own: Rows = run.handed[run.handed["motion_id"] == run.motion_id]
    return own


def _events(path: Path) -> list[dict[str, Any]]:
    """The last line of a killed recorder may be cut off; any other must be whole."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [json.loads(line) for line in lines[:-1]]
