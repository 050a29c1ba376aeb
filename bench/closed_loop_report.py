"""The closed-loop comparison as a table and as a picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bench.results import Result, result

COLUMNS = (
    ("delay ms", "delay_ms", "{:.0f}"),
    ("method", "method", "{}"),
    ("success", "success", "{:.0%}"),
    ("done s", "done_s", "{:.1f}"),
    ("stall ticks", "stall_ticks", "{:.1f}"),
    ("seam acc", "seam_acceleration", "{:.1f}"),
    ("elsewhere", "elsewhere_acceleration", "{:.1f}"),
    ("chunks' own", "chunk_acceleration", "{:.1f}"),
    ("velocity step", "seam_velocity_step", "{:.3f}"),
    ("jerk", "jerk_integral", "{:.0f}"),
    ("tracking", "tracking_rms", "{:.4f}"),
)
UNITS = (
    "Per episode, arm joints: stall ticks of 20 ms; largest acceleration (rad/s2) within 0.1 s after a new chunk, "
    "elsewhere, and within the chunks as the policy sent them; largest velocity step (rad/s) from one 5 ms command to "
    "the next at seams; integrated jerk (rad/s2); command to measured joint (rad, RMS)."
)
COLOURS = ("#888888", "#0072b2", "#009e73", "#d55e00", "#000000")


def _condition(row: dict[str, Any]) -> tuple[str, float, float]:
    return row["task"], row["jitter"], row["lost"]


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table for each task and condition."""
    lines = [UNITS]
    for (task, jitter, lost), group in itertools.groupby(rows, _condition):
        with_ = f", delays ± {jitter:.0%}, {lost:.0%} of the answers lost" if jitter or lost else ""
        own = list(group)
        count = own[0]["episodes"]
        lines += ["", f"**{task}** ({count} episode{'s' * (count != 1)} each{with_})", ""]
        lines.append("| " + " | ".join(name for name, *_ in COLUMNS) + " |")
        lines.append("|" + " --- |" * len(COLUMNS))
        for row in own:
            cells = [form.format(row[key]) if row[key] is not None else "-" for _, key, form in COLUMNS]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def as_result(rows: Sequence[dict[str, Any]], host: dict[str, Any]) -> Result:
    """In the form of other benchmarks' results; what was never done has no time."""
    kept = [
        {"task": row["task"], "method": row["method"], "delay_ms": row["delay_ms"], "jitter": row["jitter"]}
        | {"episodes": row["episodes"], "successes": round(row["success"] * row["episodes"])}
        | {name: row[name] for _, name, _ in COLUMNS[3:] if row[name] is not None}
        for row in rows
    ]
    return result("closed_loop", host, kept, key=["delay_ms", "jitter"])


def draw(rows: Sequence[dict[str, Any]], methods: Sequence[str], path: Path) -> None:
    """Success, stalls and accelerations over the delay, a row of panels for each task and condition."""
    groups = [(key, list(group)) for key, group in itertools.groupby(rows, _condition)]
    panels = (
        ("success", "success", False),
        ("stall ticks of 20 ms per episode", "stall_ticks", False),
        ("largest acceleration at seams, rad/s2", "seam_acceleration", True),
        ("integrated jerk, rad/s2", "jerk_integral", True),
    )
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(16, 3.4 * len(groups)), layout="constrained")
        axes = figure.subplots(len(groups), len(panels), squeeze=False)
        for i, ((task, jitter, lost), own) in enumerate(groups):
            for j, (title, key, is_log) in enumerate(panels):
                panel = axes[i][j]
                for method, colour in zip(methods, COLOURS, strict=True):
                    mine = [row for row in own if row["method"] == method]
                    style = "s--" if method == methods[-1] else "o-"
                    panel.plot(
                        [row["delay_ms"] for row in mine], [row[key] for row in mine],
                        style, color=colour, linewidth=1.2, markersize=4, label=method,
                    )  # fmt: skip
                panel.set_title(title if i == 0 else "", loc="left", fontweight="bold")
                panel.grid(color="#e6e6e6", linewidth=0.6)
                if is_log:
                    panel.set_yscale("log")
                elif key == "success":
                    panel.set_ylim(-0.05, 1.05)
            condition = f"{task}\n± {jitter:.0%}, {lost:.0%} lost" if jitter or lost else task
            axes[i][0].set_ylabel(condition, fontweight="bold")
        for panel in axes[-1]:
            panel.set_xlabel("delay, ms")
        axes[0][-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        figure.savefig(path, dpi=100)
