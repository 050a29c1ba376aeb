"""What a check found: the unit of `pi0ctl doctor` and of every adapter's own inspection. Pure.

A finding is one line a person can act on: the number that was measured, the bound it is held against, and, unless
all is well, what to do next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst of several is their maximum."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """subject: what was looked at ("cam_high rate"). text: value and bound. next_step: empty for OK only."""

    level: Level
    subject: str
    text: str
    next_step: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not self.next_step:
            raise ValueError(f"a finding that is {self.level.name} needs a next step: {self.subject}: {self.text}")


def worst(findings: list[Finding]) -> Level:
    """OK for none."""
    return max((finding.level for finding in findings), default=Level.OK)
