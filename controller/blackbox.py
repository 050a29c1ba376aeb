"""The black box: with every fault, the last five seconds and the braking go to a directory of their own.

Part of the recorder process, in any state, whether motions are recorded or not. The supervisor writes each fault that
it latches to a ring, so one that came while the recorder was being started again is found there. Once per fault: its
directory is named by its instant and code, and appears whole, by a rename; one that is there is not made again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from controller import dumps
from controller.child import Child
from controller.faults import FAULTS, FaultCode
from controller.feeds import Feeds
from controller.layout import text
from controller.recording_writer import Motion, RecordingWriter, described, stamp

BEFORE_NS = 5_000_000_000
AFTER_NS = 700_000_000
"""The arms come to rest in less."""

TAKEN_UP_NS = 60_000_000_000
"""A recorder that was started again makes up for the dump of a fault no older than this: of older ones no row
is left in the rings."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LatchedFault:
    """A FAULT record."""

    t_ns: int
    time: str
    code: FaultCode
    state_before: str
    motion_id: int
    prompt: str
    message: str

    @classmethod
    def of(cls, record: np.ndarray[Any, Any]) -> LatchedFault:
        return cls(
            t_ns=int(record["t_ns"]),
            code=FaultCode(int(record["code"])),
            motion_id=int(record["motion_id"]),
            **{name: text(record[name]) for name in ("time", "state_before", "prompt", "message")},
        )

    @property
    def name(self) -> str:
        """Of its dump's directory."""
        return f"{stamp(datetime.fromisoformat(self.time))}-{self.code.name.lower()}"

    def described(self) -> dict[str, Any]:
        """What meta.json says of it."""
        row = FAULTS[self.code]
        return {
            "code": self.code.name.lower(),
            "message": self.message,
            "cause": row.cause,
            "next_step": row.next_step,
            "state_before": self.state_before,
            "motion_id": self.motion_id,
            "time": self.time,
            "t_ns": self.t_ns,
        }


class BlackBox:
    """Waits until a fault's braking is over, then writes its dump from what the feeds still hold."""

    def __init__(self, child: Child, feeds: Feeds) -> None:
        self._config, self._feeds = child.config, feeds
        self._folder = Path(child.config.recorder.directory).absolute() / dumps.FOLDER
        ring = child.open("fault")
        self._faults, self._record = ring.reader(), ring.blank()
        self._waiting: deque[LatchedFault] = deque()

    def step(self, now_ns: int) -> None:
        """Write what is due. The feeds have just been drained."""
        while self._faults.next(self._record):
            fault = LatchedFault.of(self._record)
            if fault.t_ns > now_ns - TAKEN_UP_NS and not os.path.exists(self._folder / fault.name):
                self._waiting.append(fault)
        while self._waiting and now_ns >= self._waiting[0].t_ns + AFTER_NS:
            self._try(self._waiting.popleft(), now_ns)

    def end(self, now_ns: int) -> None:
        """Write also what is not due yet: no more will come."""
        self.step(now_ns)
        while self._waiting:
            self._try(self._waiting.popleft(), now_ns)

    def _try(self, fault: LatchedFault, now_ns: int) -> None:
        """A disk that refuses is said once per fault, and nothing else suffers."""
        try:
            directory = self._write(fault, now_ns)
        except OSError as error:
            log.error(  # noqa: TRY400  the administrator's matter, not a bug
                "the last seconds before the fault %s are not kept: %s; make room or correct recorder.directory",
                fault.code.name.lower(), error,
            )  # fmt: skip
            return
        log.info("the last seconds before the fault %s: %s", fault.code.name.lower(), directory)
        try:
            if removed := dumps.prune(self._folder, self._config.recorder.kept_faults):
                log.info("removed %d older dumps of faults (recorder.kept_faults)", len(removed))
        except OSError as error:
            log.warning("older dumps of faults stay: %s", error)

    def _write(self, fault: LatchedFault, now_ns: int) -> Path:
        directory = self._folder / fault.name
        part = directory.with_name(directory.name + dumps.UNFINISHED)
        if part.exists():  # its writer was killed
            shutil.rmtree(part)
        began_ns = fault.t_ns - BEFORE_NS
        motion = Motion(fault.motion_id, "fault", fault.prompt, began_ns)
        rows, events = self._feeds.between(began_ns, fault.t_ns + AFTER_NS)
        try:
            with RecordingWriter(part, described(motion, self._config) | {"fault": fault.described()}) as writer:
                for name, batch in rows.items():
                    writer.append(name, batch)
                for event in events:
                    writer.event(*event)
                writer.close(now_ns, {})
            os.replace(part, directory)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return directory
