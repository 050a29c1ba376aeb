"""Is it better or worse than before, or only noise? Pure.

Both sides are a few runs of the same benchmark. What they tell is the ratio of their medians, and between which ratios
it would lie if the runs were drawn again (bootstrap, 95 %). Medians of whole runs are what is drawn, not single times:
times within a run share the machine's mood, so they are not independent. What a machine does from one day to the next
does not show in runs of one day; `floor` stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bench.results import Result, Row, by_names, findings

FLOOR = 0.10
"""A change of this part of the value is never called one."""

DRAWS = 1000
BETWEEN = (0.025, 0.975)
MORE_IS_BETTER = ("_per_s", "_hz", "success")
NOT_JUDGED = ("n", "bytes", "max_")
"""How much was measured; and the largest of many values, which is noise."""


class Verdict(StrEnum):
    """BETTER, WORSE: beyond floor and noise. SAME: within the floor. UNCLEAR: beyond it, but so is the noise.

    NO_REPEATS: one run on a side tells nothing of the noise. NO_RATIO: some value is below 0.
    """

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNCLEAR = "unclear"
    NO_REPEATS = "single run"
    NO_RATIO = "no ratio"


@dataclass(frozen=True, slots=True)
class Change:
    """One finding then and now. ratio: now / then; low, high: where it may lie as far as the runs tell."""

    what: str
    before: float
    now: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


def change(what: str, before: Sequence[float], now: Sequence[float], floor: float = FLOOR) -> Change:
    """What a few runs then and a few now tell of one finding."""
    medians = float(np.median(before)), float(np.median(now))
    if min(*before, *now) < 0.0:
        return Change(what, *medians, math.nan, math.nan, math.nan, Verdict.NO_RATIO)
    ratios = _drawn(before, now)
    ratio = _ratio(medians[1], medians[0])
    low, high = (float(value) for value in np.quantile(ratios, BETWEEN, method="inverted_cdf"))
    if min(len(before), len(now)) < 2:
        return Change(what, *medians, ratio, low, high, Verdict.NO_REPEATS)
    more, less = Verdict.WORSE, Verdict.BETTER
    if what.startswith("success") or what.endswith(MORE_IS_BETTER):
        more, less = less, more
    if low > 1.0 + floor:
        verdict = more
    elif high < 1.0 / (1.0 + floor):
        verdict = less
    else:
        verdict = Verdict.SAME if 1.0 / (1.0 + floor) <= ratio <= 1.0 + floor else Verdict.UNCLEAR
    return Change(what, *medians, ratio, low, high, verdict)


def _drawn(before: Sequence[float], now: Sequence[float]) -> list[float]:
    random = np.random.default_rng(0)
    sides = [np.median(random.choice(np.asarray(side), (DRAWS, len(side))), axis=1) for side in (before, now)]
    return [_ratio(after, first) for first, after in zip(*sides, strict=True)]


def _ratio(now: float, before: float) -> float:
    """From none to none nothing has changed."""
    if before == 0.0:
        return 1.0 if now == 0.0 else math.inf
    return float(now / before)


def changes(before: Result, now: Result, floor: float = FLOOR) -> Iterator[tuple[str, Change]]:
    """Every finding of the rows that both have, with the row's name."""
    then = by_names(before)
    for name, row in by_names(now).items():
        for what in findings(row, now.get("key", ())) if name in then else ():
            if not what.startswith(NOT_JUDGED) and then[name].get(what) is not None:
                yield ", ".join(name), change(what, runs_of(then[name], what), runs_of(row, what), floor)


def runs_of(row: Row, what: str) -> list[float]:
    """What each run found; the one value where there was a single run."""
    found: list[float] = row.get("repeats", {}).get(what, [row[what]])
    return found


def only_in_one(before: Result, now: Result) -> list[str]:
    """Rows that cannot be compared."""
    then, found = by_names(before), by_names(now)
    return [f"{', '.join(name)}: no more" for name in then if name not in found] + [
        f"{', '.join(name)}: new" for name in found if name not in then
    ]
