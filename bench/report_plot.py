"""A benchmark's rows as a picture: from median to 99th percentile, ours in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from bench.results import ENOUGH, Result, Row, names

OURS = {"ours", "shm", "shm, filled in place", "write", "newest", "wake"}
OUR_COLOUR, PEER_COLOUR = "#0072b2", "#888888"
ROW_INCH, HEAD_INCH, WIDTH_INCH = 0.24, 0.75, 9.0


def unit_of(one: Result) -> str | None:
    """Of the times of its rows; None where they have no median and maximum."""
    units = {
        field.removeprefix("p50_")
        for row in one["rows"]
        for field in row
        if field.startswith("p50_") and field.replace("p50_", "max_") in row
    }
    return min(units) if len(units) == 1 else None


def draw(one: Result, path: Path) -> bool:
    """A panel for each value of the rows' first name. False, and no picture, where there is nothing of that form."""
    unit, key = unit_of(one), one.get("key", ())
    panels: dict[str, list[Row]] = {}
    for row in one["rows"]:
        if unit is not None and row.get(f"p50_{unit}") is not None:
            panels.setdefault(names(row, key)[0], []).append(row)
    if unit is None or not panels:
        return False
    heights = [HEAD_INCH + ROW_INCH * len(rows) for rows in panels.values()]
    with matplotlib.rc_context({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH_INCH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)
        for (name, rows), (axis,) in zip(panels.items(), axes, strict=True):
            _panel(axis, rows, key, unit)
            axis.set_title(name, loc="left", fontweight="bold")
        axes[-1][0].set_xlabel(f"{unit}: median (dot) to 99th percentile, or to the longest of fewer than {ENOUGH}")
        figure.savefig(path, dpi=110)
    return True


def _panel(axis: Axes, rows: Sequence[Row], key: Sequence[str], unit: str) -> None:
    for place, row in enumerate(rows):
        p50 = row[f"p50_{unit}"]
        end = row.get(f"p99_{unit}", row[f"max_{unit}"])
        colour = OUR_COLOUR if OURS & set(names(row, key)) else PEER_COLOUR
        axis.plot([p50, end], [place, place], color=colour, linewidth=2.0, alpha=0.5, solid_capstyle="butt")
        axis.plot([p50], [place], "o", color=colour, markersize=5)
        axis.annotate(f"{p50:.3g}", (p50, place), (-6, 0), textcoords="offset points", ha="right", va="center")
    labels = [", ".join(_labelled(row, key)[1:]) or names(row, key)[0] for row in rows]
    axis.set_yticks(range(len(rows)), labels)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xscale("log")
    axis.margins(x=0.1)
    axis.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.tick_params(labelbottom=True)


def _labelled(row: Row, key: Sequence[str]) -> list[str]:
    """Its names; a number with what it counts."""
    told = {name: value for name, value in row.items() if name in key or isinstance(value, str)}
    return [f"{value} {name}" if name in key else value for name, value in told.items()]
