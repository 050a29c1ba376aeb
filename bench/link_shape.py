"""When bytes come out of a network link that is slower than this machine's loopback. Pure.

A link is a rate, a delay, jitter and loss. Loss is modelled as what a TCP connection sees of it: the stream stands
still until the segment was sent again, and everything behind it waits. Congestion control is left out: a request has
long ended when it would matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SEGMENT_B = 1448
"""Payload of a TCP segment in an Ethernet frame; of the 1538 bytes that it takes on the wire."""

PAYLOAD_OF_WIRE = SEGMENT_B / 1538


@dataclass(frozen=True, slots=True)
class Link:
    """rate_mbps: payload. delay_s: one way. jitter_s: mean wait for the medium, once for each burst.

    loss: of segments. stall_s: until a lost one was noticed and sent again.
    """

    name: str
    rate_mbps: float
    delay_s: float
    jitter_s: float = 0.0
    loss: float = 0.0
    stall_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rate_mbps", "delay_s", "jitter_s", "loss", "stall_s"):
            if not (math.isfinite(value := getattr(self, name)) and value >= 0.0):
                raise ValueError(f"link {self.name}: {name}={value} must be finite and at least 0")
        if self.rate_mbps == 0.0 or self.loss >= 1.0:
            raise ValueError(
                f"link {self.name}: rate_mbps={self.rate_mbps:g} must be above 0 and loss={self.loss:g} below 1, "
                "or nothing ever arrives"
            )


GIGABIT = Link("gigabit", 1000 * PAYLOAD_OF_WIRE, 50e-6)
HUNDRED_MBIT = Link("100 Mbit", 100 * PAYLOAD_OF_WIRE, 100e-6)
WIFI = Link("Wi-Fi", 200.0, 1.75e-3, jitter_s=1e-3, loss=2e-4, stall_s=20e-3)
"""Assumed, not measured: a good 802.11ax link, 3.5 ms there and back, on which a request of four small pictures
meets a lost segment one time in twelve."""


class Lane:
    """One direction of one connection through a link."""

    def __init__(self, link: Link, random: np.random.Generator) -> None:
        self._link, self._random = link, random
        self._free_s = -math.inf
        self._arrived_s = -math.inf

    def arrival_s(self, now_s: float, num_bytes: int) -> float:
        """When the last of `num_bytes`, handed in at `now_s`, is at the other end; never before earlier ones."""
        link = self._link
        if now_s > self._free_s:  # a new burst asks for the medium
            self._free_s = now_s + (self._random.exponential(link.jitter_s) if link.jitter_s else 0.0)
        self._free_s += num_bytes * 8e-6 / link.rate_mbps
        if link.loss:
            self._free_s += link.stall_s * self._random.binomial(math.ceil(num_bytes / SEGMENT_B), link.loss)
        self._arrived_s = max(self._arrived_s, self._free_s + link.delay_s)
        return self._arrived_s
