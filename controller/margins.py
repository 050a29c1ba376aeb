"""Judges distances along a coming motion: which pair of bodies comes too near, and when. Pure; used by the guard.

A motion may begin where two bodies are nearer than their clearance already (the guard has just braked there, a person
has moved the arms): then it may lead away but not nearer. From then on each pair's bound only rises, up to its
clearance; and until that has been regained, one motion after the other keeps the bound of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FAR_M = 0.1
"""Distances beyond this are not told apart."""

SLACK_M = 0.002
"""Two bodies that begin too near may come so much nearer: joints do not all set out the right way at once."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bodies, named for a person, and the distance that they must keep; less than 0 where they may press.

    second None: the edge of the workspace, to which the distance is taken from inside.
    """

    first: str
    second: str | None
    clearance_m: float

    @property
    def name(self) -> str:
        return f"{self.first} and {self.second or 'the edge of the workspace'}"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The pair with the least room at one pose of a path."""

    pose: int
    pair: Pair
    distance_m: float
    bound_m: float

    @property
    def violated(self) -> bool:
        return self.distance_m < self.bound_m

    def told(self, ahead_s: float) -> str:
        """The fault's text. ahead_s: how far in the future its pose lies."""
        apart_mm, bound_mm = 1e3 * self.distance_m, 1e3 * self.bound_m
        if self.pair.second is None:
            outside_mm, bound_mm = 0.0 - apart_mm, 0.0 - bound_mm
            how = f"{self.pair.first} would be {outside_mm:.0f} mm outside the workspace (bound {bound_mm:.0f} mm)"
        else:
            how = f"{self.pair.name} would be {apart_mm:.0f} mm apart (bound {bound_mm:.0f} mm)"
        return f"{how} in {ahead_s:.2f} s"


class Margins:
    """The bounds of one motion after the other."""

    def __init__(self, pairs: list[Pair]) -> None:
        self._pairs = pairs
        self._clearance = np.array([pair.clearance_m for pair in pairs])
        self._bound = self._clearance.copy()
        self._kept = np.full_like(self._bound, -np.inf)
        """What an earlier motion has to keep of each pair, until the two have been clear of one another."""
        self._begins = True

    def begin(self) -> None:
        """Another motion begins: the next distances given to `judge` are those where it does."""
        self._begins = True

    def judge(self, distances: Array) -> Nearest:
        """The first violation, else the tightest place. distances: (poses, pairs), the first row the present."""
        present, now = np.minimum(self._clearance, distances[0] - SLACK_M), distances[0]
        if self._begins:
            self._bound = np.where(now < self._kept, -np.inf, self._kept)  # nearer: by no motion of ours
            self._begins = False
        self._bound = np.maximum(self._bound, present)
        self._kept = np.where(now >= self._clearance + SLACK_M, -np.inf, self._bound)
        return self.tightest(distances)

    def tightest(self, distances: Array) -> Nearest:
        """As `judge`, of poses that motion does not lead through: it leaves the bounds as they are."""
        room = distances - self._bound
        tightest = room.min(axis=1)
        violated = np.flatnonzero(tightest < 0.0)
        pose = int(violated[0]) if violated.size else int(tightest.argmin())
        column = int(room[pose].argmin())
        return Nearest(pose, self._pairs[column], float(distances[pose, column]), float(self._bound[column]))
