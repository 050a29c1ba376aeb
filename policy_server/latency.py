"""How late an answer is made on purpose, so that a fast policy tries a client as a slow model would. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable


def no_latency() -> float:
    """The latency of a server that answers as soon as it can: 0 s."""
    return 0.0


def uniform_latency(mean_s: float, jitter_s: float, seed: int | None) -> Callable[[], float]:
    """A source of latencies in s, uniform over mean_s - jitter_s .. mean_s + jitter_s, one per call.

    The same seed gives the same sequence. Raises ValueError unless 0 <= jitter_s <= mean_s.
    """
    if not 0 <= jitter_s <= mean_s < float("inf"):
        raise ValueError(
            f"latency {mean_s * 1e3:g} ms with jitter {jitter_s * 1e3:g} ms: need 0 <= jitter <= latency, both finite"
        )
    generator = random.Random(seed)
    return lambda: generator.uniform(mean_s - jitter_s, mean_s + jitter_s)
