"""What the supervisor tells the recorder: every event, and every fault that was latched. Two rings of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from controller import layout
from controller.board import OwnedBoard
from controller.faults import FaultCode


class Chronicle:
    """The supervisor's end of the rings. An event is as EventBus.publish gives it."""

    def __init__(self, owned: OwnedBoard) -> None:
        self._events, self._faults = owned.rings["event"].writer(), owned.rings["fault"].writer()

    def event(self, event: dict[str, Any]) -> None:
        record = np.zeros((), layout.EVENT)
        record["t_ns"], record["kind"] = event["t_ns"], event["kind"].encode()
        record["text"] = event["text"].encode()[:400]
        self._events.write(record)

    def fault(self, event: dict[str, Any], motion_id: int, prompt: str) -> None:
        """The event of a fault that was just latched; motion and prompt: what it put an end to."""
        record = np.zeros((), layout.FAULT)
        record["t_ns"], record["time"] = event["t_ns"], event["time"].encode()
        record["code"] = FaultCode[event["code"].upper()]
        record["state_before"] = event["state_before"].encode()
        record["motion_id"], record["prompt"] = motion_id, prompt.encode()
        record["message"] = event["message"].encode()[:400]
        self._faults.write(record)
