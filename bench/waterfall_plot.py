"""The stages from frame to command as a picture: means, one after the other, as they add up."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bench.results import Result
from bench.waterfall import END_TO_END, STAGES

WIDTH_INCH, ROW_INCH, HEAD_INCH = 9.0, 0.42, 1.1


def draw(one: Result, path: Path) -> bool:
    """A bar for each scheduling and time of the policy. Returns True: it has always something to draw."""
    means = {(row["scheduling"], row["policy_ms"], row["stage"]): row["mean_ms"] for row in one["rows"]}
    bars = list(dict.fromkeys((scheduling, policy_ms) for scheduling, policy_ms, _ in means))
    with matplotlib.rc_context({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH_INCH, HEAD_INCH + ROW_INCH * len(bars)), layout="constrained")
        axis = figure.subplots()
        colours = matplotlib.colormaps["tab10"]
        begins = [0.0] * len(bars)
        for i, stage in enumerate(STAGES):
            widths = [means[*bar, stage] for bar in bars]
            axis.barh(range(len(bars)), widths, left=begins, label=stage, color=colours(i), height=0.62)
            begins = [begin + width for begin, width in zip(begins, widths, strict=True)]
        for place, bar in enumerate(bars):
            axis.annotate(f"{means[*bar, END_TO_END]:.3g}", (begins[place], place), (4, 0), textcoords="offset points")
        axis.set_yticks(range(len(bars)), [f"{scheduling}, policy {policy:g} ms" for scheduling, policy in bars])
        axis.invert_yaxis()
        axis.set_xlabel("ms from the newest frame in memory to the first command made of it, means")
        axis.legend(ncols=len(STAGES), fontsize=7, loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
        figure.savefig(path, dpi=110)
    return True
