"""One picture of one recording or fault's dump: did the arms move as planned and within limits, were the ticks on time,
how old were the actions, and what came before the fault. Needs matplotlib (the `sim` extra)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from controller.limits import Rate, violations
from controller.plot_data import (
    apart,
    braking,
    commands_shown,
    is_dry,
    joint_shown,
    parts_of_limits,
    plans,
    ramping,
    ticks_shown,
    zero_ns,
)
from controller.recording import Recording, chunks_of
from controller.robots.base import ARM_JOINTS, GRIPPERS, JOINT_NAMES
from controller.summary import joint_label

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette: told apart by colour-blind readers too."""

GREY = "#888888"
RED = "#e00000"
BRAKING, RAMPING = "#f8dcdc", "#e3eefa"
LATENESS_BINS_US = np.logspace(0, 5, 61)
TITLE_WIDTH = 170
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
HEIGHTS = {"left": 3.0, "right": 3.0, "grip": 1.5, "plans": 2.6, "apart": 1.7, "late": 2.0, "delay": 2.2}
RATE_HEIGHT = 1.7


def draw(recording: Recording, title: str, path: Path) -> None:
    """Write the plot as PNG. Raises OSError."""
    with matplotlib.rc_context(STYLE):
        _Sheet(recording).draw(title, path)


class _Sheet:
    """The figure of one recording: panels over one time axis, in seconds."""

    def __init__(self, recording: Recording) -> None:
        self._run = recording
        self._t0_ns = zero_ns(recording)
        self._rates = parts_of_limits(recording)
        self._commands = commands_shown(recording)
        self._command = "not commanded (dry)" if is_dry(recording) else "command"
        self._ticks = ticks_shown(recording)
        self._handed = chunks_of(recording)

    def draw(self, title: str, path: Path) -> None:
        heights = self._heights()
        figure = Figure(figsize=(15, 1.05 * sum(heights.values()) + 1.0), layout="constrained")
        figure.suptitle(textwrap.fill(title, TITLE_WIDTH), fontsize=12, x=0.01, ha="left")
        axes: dict[str, Any] = figure.subplot_mosaic(
            [[name, "bins" if name == "late" else "."] for name in heights],
            height_ratios=list(heights.values()),
            width_ratios=[6, 1],
        )
        for i, side in enumerate(("left", "right")):
            self._arm(axes[side], i * len(ARM_JOINTS), f"{side} arm, rad")
        self._grippers(axes["grip"])
        if "plans" in axes:
            self._plans(axes["plans"], axes["apart"])
        for rate in self._rates:
            self._part_of_limit(axes[rate.what], rate)
        if "late" in axes:
            self._lateness(axes["late"])
            self._histogram(axes["bins"])
        if "delay" in axes:
            self._delays(axes["delay"])
        panels = [axes[name] for name in heights]
        self._mark(panels)
        for panel in panels:
            panel.set_xlim(*self._span_s())
            panel.tick_params(labelbottom=panel is panels[-1])
        panels[-1].set_xlabel(f"seconds since {self._zero()}")
        figure.savefig(path, dpi=100)

    def _heights(self) -> dict[str, float]:
        """The panels that have something to show, from top to bottom."""
        unplanned = len(self._run.chunks) == 0 or len(self._run.joints) == 0
        empty = {"plans": unplanned, "apart": unplanned, "late": len(self._ticks) == 0, "delay": len(self._handed) == 0}
        heights = {name: height for name, height in HEIGHTS.items() if not empty.get(name)}
        rates = {rate.what: RATE_HEIGHT for rate in self._rates}
        below = ("late", "delay")
        return (
            {name: height for name, height in heights.items() if name not in below}
            | rates
            | {name: heights[name] for name in below if name in heights}
        )

    def _zero(self) -> str:
        if self._run.fault is not None:
            return "the fault"
        return "the first tick of the run" if self._run.is_run else "the beginning of the motion"

    def _s(self, t_ns: Any) -> Any:
        return (t_ns - self._t0_ns) * 1e-9

    def _span_s(self) -> tuple[float, float]:
        t_ns = self._run.joints["t_command_ns"]
        if len(t_ns) < 2:
            return 0.0, 1.0
        begin_s, end_s = self._s(int(t_ns[0])), self._s(int(t_ns[-1]))
        return (max(-0.5, begin_s) if self._run.is_run else begin_s), end_s

    # ---- the panels --------------------------------------------------------------------------------------

    def _arm(self, axes: Any, first: int, title: str) -> None:
        for k, colour in enumerate(COLOURS):
            self._joint(axes, first + k, colour, f"joint {k}")
        self._broken_limits(axes, first)
        axes.set_title(title)
        handles, _ = axes.get_legend_handles_labels()
        if first:
            handles = [
                Line2D([], [], color="black", linewidth=0.9, label=self._command),
                Line2D([], [], color="black", linewidth=2.4, alpha=0.35, label="measured"),
                Line2D([], [], color=RED, marker=".", linestyle="none", label="beyond a limit"),
                Line2D([], [], color=GREY, marker="|", linestyle="none", label="new chunk"),
                Patch(color=RAMPING, label="ramp"),
                Patch(color=BRAKING, label="braking"),
            ]
        _legend(axes, handles)

    def _joint(self, axes: Any, joint: int, colour: str, label: str, scale: float = 1.0) -> None:
        rows, (t_ns, command) = self._run.joints, self._commands
        axes.plot(self._s(rows["t_command_ns"]), rows["q"][:, joint] * scale, color=colour, linewidth=2.4, alpha=0.35)
        axes.plot(self._s(t_ns), command[:, joint] * scale, color=colour, linewidth=0.9, label=label)

    def _broken_limits(self, axes: Any, first: int) -> None:
        """A red dot on each command of this arm that broke a limit."""
        joints = self._run.joints
        names = JOINT_NAMES[first : first + len(COLOURS)]
        for found in violations(joints, self._run.config.robot.limits):
            if found.joint in names:
                row = joints[np.searchsorted(joints["t_command_ns"], found.t_ns)]
                q = row["q_command"][JOINT_NAMES.index(found.joint)]
                axes.plot(self._s(found.t_ns), q, ".", color=RED, markersize=4, zorder=3)

    def _grippers(self, axes: Any) -> None:
        for joint, side, colour in zip(GRIPPERS, ("left", "right"), COLOURS, strict=False):
            self._joint(axes, joint, colour, side, scale=1e3)
        limits = self._run.config.robot.limits
        axes.set_ylim(1e3 * limits.lower[-1] - 2.0, 1e3 * limits.upper[-1] + 2.0)
        axes.set_title("grippers, mm")
        _legend(axes)

    def _plans(self, axes: Any, below: Any) -> None:
        """What each chunk would have had the joint do, over what it was commanded; below, how far it lies from that."""
        joint, named = joint_shown(self._run)
        drawn = plans(self._run)
        self._joint(axes, joint, "black", "command")
        _lines(axes, [(self._s(plan.t_ns), plan.actions[:, joint]) for plan in drawn])
        _lines(below, [(self._s(t_ns), 1e3 * away) for t_ns, away in apart(self._run, drawn, joint)])
        axes.autoscale_view()
        what = f"{joint_label(JOINT_NAMES[joint])}, {'named by the fault' if named else 'moved most'}"
        axes.set_title(f"{what}: each chunk's own actions, {_unit(joint)} ({len(drawn)} chunks)")
        below.set_title(f"the same less the command, m{_unit(joint)}")
        below.axhline(0.0, color="black", linewidth=0.9)
        _legend(axes, [
            Line2D([], [], color="black", linewidth=0.9, label=self._command),
            Line2D([], [], color="black", linewidth=2.4, alpha=0.35, label="measured"),
            Line2D([], [], color=COLOURS[0], marker=".", linewidth=0.7, label="chunk, from its\nobservation on"),
        ])  # fmt: skip

    def _part_of_limit(self, axes: Any, rate: Rate) -> None:
        """Every joint, as a part of its own bound: the left arm's lines whole, the right arm's dashed."""
        parts, t_s = np.abs(rate.values) / rate.bounds, self._s(rate.t_ns)
        for joint in range(parts.shape[1]):
            right, k = divmod(joint, len(ARM_JOINTS))
            colour = COLOURS[k] if k < len(COLOURS) else GREY
            axes.plot(t_s, parts[:, joint], color=colour, linewidth=0.8, linestyle="--" if right else "-")
        axes.axhline(1.0, color=RED, linewidth=0.8)
        largest = float(np.nanmax(parts, initial=0.0))
        axes.set_ylim(0.0, 1.1 * max(1.0, largest if np.isfinite(largest) else 1.0))
        axes.set_title(f"{rate.what}, part of each joint's limit (largest {largest:.2f})")
        _legend(axes, [
            Line2D([], [], color="black", linewidth=0.8, label="left arm"),
            Line2D([], [], color="black", linewidth=0.8, linestyle="--", label="right arm"),
            Line2D([], [], color=GREY, linewidth=0.8, label="grippers"),
            Line2D([], [], color=RED, linewidth=0.8, label="limit"),
        ])  # fmt: skip

    def _lateness(self, axes: Any) -> None:
        ticks = self._ticks
        late_us = np.maximum((ticks["t_ns"] - ticks["deadline_ns"]) * 1e-3, 1.0)
        t_s, missed, stalled = self._s(ticks["deadline_ns"]), ticks["missed"] > 0, ticks["stalled"] > 0
        axes.plot(t_s, late_us, ".", color=COLOURS[0], markersize=2.5)
        axes.plot(t_s[missed], late_us[missed], "x", color=COLOURS[1], label="missed")
        axes.plot(t_s[stalled], late_us[stalled], "o", color=COLOURS[3], fillstyle="none", label="stalled")
        axes.set_yscale("log")
        axes.set_ylim(LATENESS_BINS_US[0], LATENESS_BINS_US[-1])
        axes.yaxis.set_major_formatter(FuncFormatter(_duration))
        axes.set_title(
            f"lateness of control ticks ({len(ticks)} ticks, {int(ticks['missed'].sum())} missed, "
            f"{int(stalled.sum())} stalled)"
        )

    def _histogram(self, axes: Any) -> None:
        late_us = np.maximum((self._ticks["t_ns"] - self._ticks["deadline_ns"]) * 1e-3, 1.0)
        axes.hist(late_us, bins=LATENESS_BINS_US, orientation="horizontal", color=COLOURS[0])
        axes.set_yscale("log")
        axes.set_ylim(LATENESS_BINS_US[0], LATENESS_BINS_US[-1])
        axes.yaxis.set_major_formatter(FuncFormatter(_duration))
        for fraction, style in ((0.5, "-"), (0.99, "--")):
            value = float(np.quantile(late_us, fraction, method="inverted_cdf"))
            label = f"p{fraction * 100:g} {_duration(value, None)}"
            axes.axhline(value, color=COLOURS[1], linestyle=style, linewidth=1, label=label)
        axes.legend(loc="upper right")
        axes.set_title("how often")

    def _delays(self, axes: Any) -> None:
        chunks = self._handed
        t_s = self._s(chunks["t_handed_ns"])
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

    def _mark(self, panels: Sequence[Any]) -> None:
        """In every panel: ramp and braking as shades, the fault as a line; at its foot a stroke for each splice, since
        whole lines would hide the motion at 20 per second."""
        seams_s = self._s(self._handed["t_spliced_ns"])
        shades = ((RAMPING, ramping(self._run)), (BRAKING, braking(self._run)))
        for panel in panels:
            for colour, spans in shades:
                for begin_ns, end_ns in spans:
                    panel.axvspan(self._s(begin_ns), self._s(end_ns), color=colour, linewidth=0, zorder=0.1)
            panel.vlines(seams_s, 0.0, 0.06, color=GREY, linewidth=0.5, transform=panel.get_xaxis_transform())
            if self._run.fault is not None:
                panel.axvline(0.0, color=RED, linewidth=1.0, linestyle="--")
        if self._run.fault is not None:
            panels[0].annotate(
                f"{str(self._run.fault['code']).upper()} ", (0.0, 1.0), xycoords=("data", "axes fraction"), color=RED,
                ha="right", va="bottom", weight="bold",
            )  # fmt: skip


def _lines(axes: Any, lines: Sequence[tuple[Any, Any]]) -> None:
    """Many thin lines in turning colours, a dot where each begins."""
    for i, (x, y) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.8, marker=".", markersize=3, markevery=[0])


def _unit(joint: int) -> str:
    return "m" if joint in GRIPPERS else "rad"


def _legend(axes: Any, handles: Sequence[Any] | None = None) -> None:
    """Beside the panel, in the column that the histogram makes wide enough."""
    handles = axes.get_legend_handles_labels()[0] if handles is None else handles
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5)).set_in_layout(False)


def _duration(value_us: float, _position: int | None) -> str:
    return f"{value_us:.3g} us" if value_us < 1e3 else f"{value_us * 1e-3:.3g} ms"
