"""How a run is to be played: what an operator chooses for it, apart from the prompt. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

SPEED = (0.05, 1.0)
"""Bounds of a run's speed: below, a chunk lasts half a minute; above, motion would be faster than it was taught."""

LONGEST_HORIZON = 127
"""Steps of an execution horizon: one less than the longest chunk."""


class Seam(IntEnum):
    """How motion gets from one action chunk to the next. Values are written to shared memory and recordings."""

    SWITCH = 0  # the new chunk counts at once
    BLEND = 1  # cross-fade over a window
    ENSEMBLE = 2  # weighted mean of all chunks that reach the moment (ACT's temporal ensembling)
    RTC = 3  # the server continues the old chunk (real-time chunking); what is left of the gap is cross-faded

    @property
    def word(self) -> str:
        """As operators, scripts and the configuration write it."""
        return self.name.lower()


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

    def described(self) -> dict[str, Any]:
        """In JSON types, for the status and for recordings."""
        return {
            "seam": self.seam.word,
            "speed": self.speed,
            "dry": self.dry,
            "execution_horizon": self.execution_horizon,
        }


def playable(asked: RunOptions, *, rtc_offered: bool) -> tuple[RunOptions, str]:
    """What the policy server allows of what was asked, and why it is less than that; empty when it is not."""
    if asked.seam is Seam.RTC and not rtc_offered:
        return replace(asked, seam=Seam.BLEND), "the policy server does not offer rtc"
    return asked, ""


def too_long(options: RunOptions, action_horizon: int | None) -> str:
    """Why the execution horizon does not fit the server's chunks; empty when it does, or their length is not known."""
    longest = None if action_horizon is None else max(action_horizon - 2, 0)  # the last action is where the plan ends
    if longest is None or options.execution_horizon <= longest:
        return ""
    return (
        f"execution_horizon = {options.execution_horizon} leaves nothing of a chunk of {action_horizon} actions "
        f"to go on with until the next one comes (bound {longest}); choose a shorter one"
    )
