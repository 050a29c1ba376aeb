"""How a run is to be played: what an operator chooses for it, apart from the prompt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

SPEED = (0.05, 1.0)
"""Bounds of a run's speed: below, a chunk lasts half a minute; above, motion would be faster than it was taught."""


class Seam(IntEnum):
    """How motion gets from one action chunk to the next. Values are written to shared memory and recordings."""

    SWITCH = 0  # the new chunk counts at once
    BLEND = 1  # cross-fade over a window
    ENSEMBLE = 2  # weighted mean of all chunks that reach the moment (ACT's temporal ensembling)
    RTC = 3  # the server continues the old chunk (real-time chunking); what is left of the gap is cross-faded


@dataclass(frozen=True, slots=True)
class RunOptions:
    """speed: of the policy's own time against real time. dry: work everything out, command nothing.

    execution_horizon: the next request leaves once this many steps of the newest chunk are past; 0: as soon as the
    last answer came.
    """

    seam: Seam = Seam.BLEND
    speed: float = 1.0
    dry: bool = False
    execution_horizon: int = 0
