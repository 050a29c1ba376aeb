"""How late an answer is to be expected, judged by the last ones. Pure."""

from __future__ import annotations

import math
from collections import deque

KEPT = 20
UNKNOWN_S = 0.1
"""Expected before anything is known."""

OVERDUE, OVERDUE_S = 1.5, 0.05
"""An answer that takes this many times the expected delay and a little is as good as lost."""


class ExpectedDelay:
    """From an observation's joint reading to the use of its actions: a quantile of the last delays.

    Where the quantile lies between two of them, the longer one counts: answers that come sooner than expected do no
    harm, but what was expected to be executed still and is not makes a seam.
    """

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._delays_s: deque[float] = deque(maxlen=KEPT)

    def add(self, delay_s: float) -> None:
        self._delays_s.append(delay_s)

    @property
    def known(self) -> bool:
        return bool(self._delays_s)

    @property
    def seconds(self) -> float:
        if not self._delays_s:
            return UNKNOWN_S
        return sorted(self._delays_s)[math.ceil(self._quantile * (len(self._delays_s) - 1))]

    @property
    def overdue_s(self) -> float:
        """After how long without an answer another request had better leave; infinite before a delay is known."""
        return OVERDUE * self.seconds + OVERDUE_S if self.known else math.inf
