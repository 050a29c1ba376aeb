"""From a frame to the first command made of it, stage by stage, as each chunk's trace tells. Pure.

The trace (`controller.layout.TRACE`) has instants of the controller's clock and durations that the server told. Stages
between FIRST and LAST add up to the end-to-end time of each chunk, so their means do as well; their percentiles do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results import spread

Rows = NDArray[np.void]
Values = NDArray[np.float64]

EXPOSURE, LETTERBOX, TURN, BUILD, WIRE = "oldest exposure to newest frame", "letterbox", "wait", "build", "wire"
QUEUE, CODEC, POLICY, SPLICE = "queue", "decode and encode", "policy", "splice"
PLAN, TICK, HAND_OVER = "plan", "motor tick", "hand-over"
END_TO_END, OVERHEAD, AGE = "END TO END", "OVERHEAD", "age of the oldest exposure"


def _between(begin: str, end: str) -> Callable[[Rows], Values]:
    return lambda rows: (rows[f"t_{end}_ns"] - rows[f"t_{begin}_ns"]) * 1e-6


STAGES: dict[str, Callable[[Rows], Values]] = {
    LETTERBOX: _between("frame", "ready"),
    TURN: _between("ready", "asked"),
    BUILD: _between("asked", "sent"),
    WIRE: lambda rows: _between("sent", "received")(rows) - rows["server_ms"],
    QUEUE: lambda rows: rows["queue_ms"],
    CODEC: lambda rows: rows["server_ms"] - rows["queue_ms"] - rows["inference_ms"],
    POLICY: lambda rows: rows["inference_ms"],
    SPLICE: _between("received", "spliced"),
    PLAN: _between("spliced", "planned"),
    TICK: _between("planned", "command"),
    HAND_OVER: _between("command", "handed"),
}
"""In order. letterbox: copied into shared memory, letterboxed, looked at. wait: the link wakes, or awaits its turn.
build: copied and packed. wire: sent and received, both programs' websockets included. decode and encode: in the server.
splice: the answer is checked, control wakes. plan: its next piece. motor tick: the piece begins, or the next tick does.
hand-over: the command is worked out and goes to the driver."""

TOTALS: dict[str, Callable[[Rows], Values]] = {
    END_TO_END: _between("frame", "handed"),
    OVERHEAD: lambda rows: _between("frame", "handed")(rows) - rows["inference_ms"],
    EXPOSURE: _between("exposure_oldest", "frame"),
    AGE: _between("exposure_oldest", "handed"),
}


def stage_rows(handed: Rows, **what: Any) -> list[dict[str, Any]]:
    """A row for each stage and total. handed: layout.HANDED of chunks whose server told its times.

    what: further names of the rows, or numbers that the result's key lists. Raises ValueError without a chunk, or
    where a server told nothing.
    """
    if not np.isfinite([handed[name] for name in ("queue_ms", "inference_ms", "server_ms")]).all():
        raise ValueError("the policy server did not tell queue_ms, infer_ms and total_ms; stages need all of them")
    return [
        what | {"stage": name} | spread(values.tolist(), "ms") | {"mean_ms": float(values.mean())}
        for name, of in (STAGES | TOTALS).items()
        for values in [of(handed)]
    ]
