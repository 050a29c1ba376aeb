"""One picture of one run: did the arms move smoothly, were the ticks on time, how old were the actions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from controller.limits import violations
from controller.recording import Recording, chunks_of, ticks_of
from controller.robots.base import ARM_JOINTS, GRIPPERS, JOINT_NAMES

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""

GREY = "#888888"
RED = "#e00000"
LATENESS_BINS_US = np.logspace(0, 5, 61)
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
}


def draw(run: Recording, title: str, path: Path) -> None:
    """Write the plot of a run as PNG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 13), layout="constrained")
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        axes = figure.subplot_mosaic(
            [["left", "."], ["right", "."], ["grip", "."], ["late", "bins"], ["delay", "."]],
            height_ratios=[3, 3, 1.5, 2, 2.2],
            width_ratios=[6, 1],
        )
        t0_ns = _start_ns(run)
        for i, side in enumerate(("left", "right")):
            _arm(axes[side], run, t0_ns, i * len(ARM_JOINTS), f"{side} arm, rad")
        _grippers(axes["grip"], run, t0_ns)
        _lateness(axes["late"], run, t0_ns)
        _histogram(axes["bins"], run)
        _delays(axes["delay"], run, t0_ns)
        span = _span_s(run, t0_ns)
        for name in ("left", "right", "grip", "late", "delay"):
            axes[name].set_xlim(*span)
        axes["delay"].set_xlabel("seconds since the first tick of the run")
        figure.savefig(path, dpi=100)


def _start_ns(run: Recording) -> int:
    ticks = ticks_of(run)
    return int(ticks["deadline_ns"][0] if len(ticks) else run.meta["started_monotonic_ns"])


def _seconds(t_ns: Any, t0_ns: int) -> Any:
    return (t_ns - t0_ns) * 1e-9


def _span_s(run: Recording, t0_ns: int) -> tuple[float, float]:
    t_ns = run.joints["t_ns"]
    if len(t_ns) < 2:
        return 0.0, 1.0
    return max(-0.5, _seconds(int(t_ns[0]), t0_ns)), _seconds(int(t_ns[-1]), t0_ns)


def _seams(axes: Any, run: Recording, t0_ns: int) -> None:
    """A thin line at the panel's foot for each splice: whole lines would hide the motion at 20 per second."""
    t_s = _seconds(chunks_of(run)["t_spliced_ns"], t0_ns)
    axes.vlines(t_s, 0.0, 0.06, color=GREY, linewidth=0.5, transform=axes.get_xaxis_transform())


def _arm(axes: Any, run: Recording, t0_ns: int, first: int, title: str) -> None:
    joints = run.joints
    _seams(axes, run, t0_ns)
    for k, colour in enumerate(COLOURS):
        axes.plot(_seconds(joints["t_ns"], t0_ns), joints["q"][:, first + k], color=colour, linewidth=2.4, alpha=0.35)
        axes.plot(
            _seconds(joints["t_command_ns"], t0_ns), joints["q_command"][:, first + k],
            color=colour, linewidth=0.9, label=f"joint {k}",
        )  # fmt: skip
    _broken_limits(axes, run, t0_ns, first)
    axes.set_title(title)
    handles, _ = axes.get_legend_handles_labels()
    if first:
        handles = [
            Line2D([], [], color="black", linewidth=0.9, label="command"),
            Line2D([], [], color="black", linewidth=2.4, alpha=0.35, label="measured"),
            Line2D([], [], color=GREY, marker="|", linestyle="none", label="new chunk"),
            Line2D([], [], color=RED, marker=".", linestyle="none", label="beyond a limit"),
        ]
    _legend(axes, handles)


def _broken_limits(axes: Any, run: Recording, t0_ns: int, first: int) -> None:
    """A red dot on each command of this arm that broke a limit."""
    joints = run.joints
    names = JOINT_NAMES[first : first + len(COLOURS)]
    for found in violations(joints, run.config.robot.limits):
        if found.joint in names:
            row = joints[np.searchsorted(joints["t_command_ns"], found.t_ns)]
            q = row["q_command"][JOINT_NAMES.index(found.joint)]
            axes.plot(_seconds(found.t_ns, t0_ns), q, ".", color=RED, markersize=4, zorder=3)


def _legend(axes: Any, handles: Sequence[Any] | None = None) -> None:
    """Beside the panel, in the column that the histogram makes wide enough."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5)).set_in_layout(False)


def _grippers(axes: Any, run: Recording, t0_ns: int) -> None:
    joints = run.joints
    _seams(axes, run, t0_ns)
    for joint, side, colour in zip(GRIPPERS, ("left", "right"), COLOURS, strict=False):
        t_s = _seconds(joints["t_ns"], t0_ns)
        axes.plot(t_s, joints["q"][:, joint] * 1e3, color=colour, linewidth=2.4, alpha=0.35)
        t_s = _seconds(joints["t_command_ns"], t0_ns)
        axes.plot(t_s, joints["q_command"][:, joint] * 1e3, color=colour, linewidth=0.9, label=side)
    axes.set_title("grippers, mm")
    _legend(axes)


def _lateness(axes: Any, run: Recording, t0_ns: int) -> None:
    ticks = ticks_of(run)
    late_us = np.maximum((ticks["t_ns"] - ticks["deadline_ns"]) * 1e-3, 1.0)
    axes.plot(_seconds(ticks["deadline_ns"], t0_ns), late_us, ".", color=COLOURS[0], markersize=2.5)
    missed = ticks["missed"] > 0
    axes.plot(_seconds(ticks["deadline_ns"][missed], t0_ns), late_us[missed], "x", color=COLOURS[1], label="missed")
    axes.set_yscale("log")
    axes.set_ylim(LATENESS_BINS_US[0], LATENESS_BINS_US[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(_duration))
    axes.set_title(f"lateness of control ticks ({len(ticks)} ticks, {int(ticks['missed'].sum())} missed)")


def _histogram(axes: Any, run: Recording) -> None:
    ticks = ticks_of(run)
    late_us = np.maximum((ticks["t_ns"] - ticks["deadline_ns"]) * 1e-3, 1.0)
    axes.hist(late_us, bins=LATENESS_BINS_US, orientation="horizontal", color=COLOURS[0])
    axes.set_yscale("log")
    axes.set_ylim(LATENESS_BINS_US[0], LATENESS_BINS_US[-1])
    axes.yaxis.set_major_formatter(FuncFormatter(_duration))
    if len(late_us):
        for fraction, style in ((0.5, "-"), (0.99, "--")):
            value = float(np.quantile(late_us, fraction, method="inverted_cdf"))
            label = f"p{fraction * 100:g} {_duration(value, None)}"
            axes.axhline(value, color=COLOURS[1], linestyle=style, linewidth=1, label=label)
        axes.legend(loc="upper right")
    axes.set_title("how often")


def _delays(axes: Any, run: Recording, t0_ns: int) -> None:
    chunks = chunks_of(run)
    t_s = _seconds(chunks["t_handed_ns"], t0_ns)
    series = (
        ("observation age", (chunks["t_handed_ns"] - chunks["t_exposure_oldest_ns"]) * 1e-6),
        ("frame to command", (chunks["t_handed_ns"] - chunks["t_frame_ns"]) * 1e-6),
        ("round trip", (chunks["t_received_ns"] - chunks["t_sent_ns"]) * 1e-6),
        ("inference", chunks["inference_ms"]),
    )
    for (name, values), colour in zip(series, COLOURS, strict=False):
        axes.plot(t_s, values, ".-", color=colour, linewidth=0.6, markersize=3, label=name)
    axes.axhline(50.0, color=GREY, linestyle=":", linewidth=1, label="50 ms")
    axes.set_ylim(bottom=0.0)
    axes.set_title(f"delays of each chunk, ms ({len(chunks)} chunks)")
    _legend(axes)


def _duration(value_us: float, _position: int | None) -> str:
    return f"{value_us:.3g} us" if value_us < 1e3 else f"{value_us * 1e-3:.3g} ms"
