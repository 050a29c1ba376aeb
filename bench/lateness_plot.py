"""How late ticks came, as histograms: our loop's over cyclictest's, idle and loaded, with both schedulings."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import HISTOGRAM, Result, Row

COLOURS = {"cyclictest": "#888888", "ours": "#0072b2"}
WORDS = {"fifo": "SCHED_FIFO", "normal": "scheduled normally"}
PANEL_INCH = (4.6, 2.3)
STEP = 2.0 ** (1 / 4)
"""From one bin's edge to the next."""

ROOM = 40.0
"""Above the highest bar, for the legend: times its height, on a logarithmic axis."""


def draw(one: Result, path: Path) -> bool:
    """A panel for each load and scheduling. False, and no picture, where the rows hold no histogram."""
    rows = [row for row in one["rows"] if row.get(HISTOGRAM)]
    loads, schedulings = (list(dict.fromkeys(row[name] for row in rows)) for name in ("load", "scheduling"))
    if not rows:
        return False
    size = (PANEL_INCH[0] * len(schedulings), PANEL_INCH[1] * len(loads) + 0.4)
    with matplotlib.rc_context({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(loads), len(schedulings), squeeze=False, sharex=True, sharey=True)
        for load, line in zip(loads, axes, strict=True):
            for scheduling, axis in zip(schedulings, line, strict=True):
                _panel(axis, [row for row in rows if (row["load"], row["scheduling"]) == (load, scheduling)])
                axis.set_title(f"{load}, {WORDS.get(scheduling, scheduling)}", loc="left", fontweight="bold")
        most = max(count for row in rows for _, count in row[HISTOGRAM])
        axes[0][0].set_ylim(0.7, ROOM * most)
        for axis in axes[-1]:
            axis.set_xlabel("late by, us")
        for line in axes:
            line[0].set_ylabel("ticks")
        figure.savefig(path, dpi=110)
    return True


def _panel(axis: Axes, rows: list[Row]) -> None:
    for program, colour in COLOURS.items():
        for row in rows:
            if row["program"] == program:
                edges, counts = zip(*row[HISTOGRAM], strict=True)
                label = f"{program}: p50 {row['p50_us']:,.0f}, p99 {row['p99_us']:,.0f}"
                widths = [edge / STEP - edge for edge in edges]
                axis.bar(edges, counts, widths, align="edge", color=colour, alpha=0.55, label=label)
                axis.axvline(row["p99_us"], color=colour, linewidth=1.0, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.grid(color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelbottom=True)
    axis.legend(frameon=False, loc="upper right", title="dotted: p99", title_fontsize=7.5)
