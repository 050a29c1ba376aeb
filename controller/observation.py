"""What a request to the policy says, and when it was so. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Observation:
    """The request's content, and the instants that its trace needs."""

    request: dict[str, Any]
    t_observation_ns: int
    t_exposure_oldest_ns: int
    t_exposure_newest_ns: int
    t_frame_ns: int
    t_ready_ns: int
    slowest_hz: float

    @property
    def spread_s(self) -> float:
        return (self.t_exposure_newest_ns - self.t_exposure_oldest_ns) * 1e-9
