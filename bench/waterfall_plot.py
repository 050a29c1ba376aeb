"""The stages from frame to command as a picture: means, one after the other, as they add up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import Result
from bench.waterfall import POLICY, STAGES

WIDTH_INCH, ROW_INCH, HEAD_INCH = 9.0, 0.42, 1.0
POLICY_COLOUR = "#d0d0d0"

Bar = tuple[str, float]
"""Scheduling, and the policy's time in ms."""


def draw(one: Result, path: Path) -> bool:
    """A bar for each scheduling and time of the policy, all of it and what is ours. True: there is always one."""
    means = {(row["scheduling"], row["policy_ms"], row["stage"]): row["mean_ms"] for row in one["rows"]}
    bars = list(dict.fromkeys((scheduling, policy_ms) for scheduling, policy_ms, _ in means))
    stages = [stage for stage in STAGES if all((*bar, stage) in means for bar in bars)]
    with matplotlib.rc_context({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH_INCH, 2 * (HEAD_INCH + ROW_INCH * len(bars))), layout="constrained")
        whole, ours = figure.subplots(2, 1)
        _stack(whole, means, bars, stages)
        _stack(ours, means, bars, [stage for stage in stages if stage != POLICY])
        whole.set_xlabel("ms from the newest frame in memory to the first command made of it, means")
        ours.set_xlabel("the same without the policy's own time")
        handles = whole.get_legend_handles_labels()
        figure.legend(*handles, ncols=6, fontsize=7, loc="outside upper center", frameon=False)
        figure.savefig(path, dpi=110)
    return True


def _stack(axis: Axes, means: dict[tuple[str, float, str], float], bars: Sequence[Bar], stages: Sequence[str]) -> None:
    """One bar below the other, each of its stages, with its sum."""
    colours = iter(matplotlib.colormaps["tab20"].colors[place] for place in (*range(0, 20, 2), *range(1, 20, 2)))
    colour_of = {stage: POLICY_COLOUR if stage == POLICY else next(colours) for stage in STAGES}
    begins = [0.0] * len(bars)
    for stage in stages:
        widths = [means[*bar, stage] for bar in bars]
        axis.barh(range(len(bars)), widths, left=begins, label=stage, color=colour_of[stage], height=0.62)
        begins = [begin + width for begin, width in zip(begins, widths, strict=True)]
    for place, end in enumerate(begins):
        axis.annotate(f"{end:.3g}", (end, place), (4, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(bars)), [f"{scheduling}, policy {policy:g} ms" for scheduling, policy in bars])
    axis.invert_yaxis()
