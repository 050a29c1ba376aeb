"""How fast the processes of a program that runs for long grow: memory, open files, threads. Pure.

A process that was replaced begins a new life; what its first seconds take is left out. The rest of a life is cut into
stretches, each of which counts as its median, and every two stretches of a life have a slope: the median of all lives'
slopes is the growth (Sen's slope, lives in the place of seasons). Its error is half the width of the 95 % interval that
Kendall's variance gives, as far as stretches do not depend on each other. Neither minds a few odd values; a single step
late in a long life is no growth, and shows between the first and the last value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import sqrt
from statistics import median
from typing import Any

from bench.footprint import Footprint

WARM_UP_S = 30.0
"""Within it the recorder fills the twelve seconds that it keeps for a fault, and most paths are taken once."""

STRETCH_S = 10.0
HOUR_S = 3600.0
QUANTITIES = {"pss_mb": "mb", "files": "files", "threads": "threads"}

Series = Sequence[tuple[float, float]]
"""Instants (s) and values, of one life."""

Lives = Mapping[tuple[str, int], Sequence[tuple[float, Footprint]]]
"""By a process's name and pid: instants (s) and what it held then."""


@dataclass(frozen=True, slots=True)
class Growth:
    """per_hour: the slope. error: half the width of its 95 % interval."""

    per_hour: float
    error: float


def settled(life: Series) -> list[tuple[float, float]]:
    """The stretches of a life after its first seconds."""
    begin_s = life[0][0]
    since = [(t_s - begin_s, value) for t_s, value in life if t_s - begin_s >= WARM_UP_S]
    stretches = [list(own) for _, own in groupby(since, lambda sample: sample[0] // STRETCH_S)]
    return [(median(t_s for t_s, _ in own), median(value for _, value in own)) for own in stretches]


def growth(lives: Sequence[Series]) -> Growth | None:
    """Of one quantity over all lives of a process. None where they were too short to tell."""
    stretches = [settled(life) for life in lives]
    slopes = sorted(_slopes(stretches))
    counts = [len(own) for own in stretches]
    variance = sum(n * (n - 1) * (2 * n + 5) / 18 for n in counts)
    off = 1.96 * sqrt(variance)
    if off >= len(slopes):
        return None
    low = slopes[max(round((len(slopes) - off) / 2) - 1, 0)]
    high = slopes[min(round((len(slopes) + off) / 2), len(slopes) - 1)]
    return Growth(HOUR_S * median(slopes), HOUR_S * (high - low) / 2)


def _slopes(stretches: Sequence[Series]) -> Iterator[float]:
    for own in stretches:
        for (t_s, value), (later_s, later) in combinations(own, 2):
            yield (later - value) / (later_s - t_s)


def growth_rows(lives: Lives) -> list[dict[str, Any]]:
    """One row for each process, in the order in which they came.

    lives, minutes: how many, and how long the longest. Of each quantity, what the newest sample of the longest life
    says, and the growth over all lives with its error; no growth where all were too short.
    """
    by_name: dict[str, list[Sequence[tuple[float, Footprint]]]] = {}
    for (name, _), life in lives.items():
        by_name.setdefault(name, []).append(life)
    return [{"process": name, **_row(own)} for name, own in by_name.items()]


def _row(own: Sequence[Sequence[tuple[float, Footprint]]]) -> dict[str, Any]:
    longest = max(own, key=lambda life: life[-1][0] - life[0][0])
    row: dict[str, Any] = {"lives": len(own), "minutes": (longest[-1][0] - longest[0][0]) / 60.0}
    for quantity, word in QUANTITIES.items():
        row[word] = getattr(longest[-1][1], quantity)
        found = growth([[(t_s, getattr(sample, quantity)) for t_s, sample in life] for life in own])
        if found is not None:
            row |= {f"{word}_per_hour": found.per_hour, f"{word}_per_hour_error": found.error}
    return row
