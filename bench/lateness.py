"""Histograms of lateness, ours and cyclictest's, in one form. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.results import HISTOGRAM

BOUND_US = 65_000
"""Of a histogram; what comes later is counted as so late."""


def lateness_row(histogram: Mapping[int, int], max_us: float) -> dict[str, Any]:
    """histogram: how many ticks came so many whole microseconds late. Raises ValueError without any.

    max_us: the latest of them, which may lie beyond the histogram.
    """
    n = sum(histogram.values())
    if n == 0:
        raise ValueError("no tick was counted; did the program run?")
    return {
        "n": n,
        **{f"p{percent:g}_us".replace(".", ""): quantile_us(histogram, percent / 100) for percent in (50, 99, 99.9)},
        "max_us": max_us,
        HISTOGRAM: binned(histogram),
    }


def binned(histogram: Mapping[int, int]) -> list[list[int]]:
    """The same in bins of a quarter octave: [upper edge in us, ticks], those without ticks left out."""
    bins: Counter[int] = Counter()
    for late_us, count in histogram.items():
        bins[math.ceil(2.0 ** (math.ceil(4.0 * math.log2(max(late_us, 1))) / 4.0))] += count
    return [[edge_us, count] for edge_us, count in sorted(bins.items())]


def quantile_us(histogram: Mapping[int, int], fraction: float) -> float:
    """The lateness that at least this part of the ticks did not exceed."""
    wanted, seen = math.ceil(fraction * sum(histogram.values())), 0
    for late_us in sorted(histogram):
        seen += histogram[late_us]
        if seen >= wanted:
            return float(late_us)
    raise ValueError(f"fraction is {fraction}, must lie in (0, 1]")


def cyclictest_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of cyclictest's own JSON, one thread."""
    thread = report["thread"]["0"]
    histogram = {int(late_us): int(count) for late_us, count in thread["histogram"].items()}
    beyond = int(thread["cycles"]) - sum(histogram.values())
    if beyond > 0:
        histogram[BOUND_US] = histogram.get(BOUND_US, 0) + beyond
    return lateness_row(histogram, float(thread["max"]))
