"""What a robot sees of its controller: when commands come, and how old is what they were made from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.results import spread

ACTION_HZ = 50.0
"""Of the policy's actions."""

LATE_MS, STALL_MS, BURST_MS = 25.0, 40.0, 1.0
"""Between two commands: over a quarter of a period too long; over a period too long; two at once."""


def command_row(t_command_ns: Sequence[int], end_to_end_ms: Sequence[float], policy_ms: float) -> dict[str, Any]:
    """Rate, gaps and bursts of commands; the spread of the time from a frame to the first command made of it.

    overhead: the median of that, less the policy's own time. Raises ValueError for fewer than two commands.
    """
    if len(t_command_ns) < 2:
        raise ValueError(f"{len(t_command_ns)} commands came; a rate needs two. See why the client stopped")
    between_ms = np.diff(np.asarray(t_command_ns, dtype=np.int64)) * 1e-6
    latency = spread(end_to_end_ms, "ms")
    return {
        **latency,
        "overhead_ms": latency["p50_ms"] - policy_ms,
        "rate_hz": 1e3 / float(between_ms.mean()),
        "between_p50_ms": float(np.median(between_ms)),
        "between_max_ms": float(between_ms.max()),
        "late": int((between_ms > LATE_MS).sum()),
        "stalls": int((between_ms > STALL_MS).sum()),
        "bursts": int((between_ms < BURST_MS).sum()),
    }
