"""How the seam methods compare while they are used: how far chunks are apart, how hard the arms accelerate. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.robots.base import GRIPPERS, N_JOINTS, Vector
from controller.run_options import Seam

ARMS = np.array([joint for joint in range(N_JOINTS) if joint not in GRIPPERS])


class SeamStatistics:
    """One value per Seam, of the arm joints (rad, s), since the daemon's start."""

    def __init__(self) -> None:
        self.count: NDArray[np.uint64] = np.zeros(len(Seam), np.uint64)
        self.gap_last = np.zeros(len(Seam))
        self.gap_max = np.zeros(len(Seam))
        self.at_seam = np.zeros(len(Seam))
        self.inside = np.zeros(len(Seam))

    def splice(self, seam: Seam, gap: Vector) -> None:
        """A chunk was spliced in so far from the one before it."""
        largest = float(np.abs(gap[ARMS]).max())
        self.count[seam] += np.uint64(1)
        self.gap_last[seam] = largest
        self.gap_max[seam] = max(self.gap_max[seam], largest)

    def accelerate(self, seam: Seam, acceleration: Vector, *, fading: bool) -> None:
        """The arms are commanded to accelerate so much, while a seam is being crossed or not."""
        largest = float(np.abs(acceleration[ARMS]).max())
        kept = self.at_seam if fading else self.inside
        kept[seam] = max(kept[seam], largest)
