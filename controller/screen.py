"""What `pi0ctl watch` draws: status and last events as a rich layout that fits 80x24 and grows from there.

Pure: the same input gives the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.table import Table
from rich.text import Text

from controller.summary import (
    DRY_RUN,
    SEAM_COLUMNS,
    camera_rows,
    fault_lines,
    guard_line,
    host_line,
    joint_label,
    latency_rows,
    look_up,
    loop_rows,
    motion_line,
    number,
    play_line,
    policy_line,
    process_rows,
    recorder_line,
    robot_line,
    seam_rows,
    state_line,
    title_line,
)

STATE_STYLES = {
    "idle": "bold white on blue",
    "homing": "bold black on yellow",
    "running": "bold black on green",
    "fault": "bold white on red",
}
HEADING = "bold cyan"
BAD = "bold red"
KEYS = " space/s stop   e emergency stop   q quit "
RUN_KEYS = "1-4 seam   + - speed"
"""Shown where no notice needs the place."""

DRY_STYLE = "bold white on magenta"

WIDE = 112
"""From this many columns on there is room for each process's scheduling."""

TALL = 30
"""From this many rows on there is room for all latencies."""

RIGHT_COLUMNS = 38
JOINT_ROWS = 7
FACTS_FIRST = 3
"""Facts that are needed more than the comparison of seams."""

NEAR_LIMIT = 0.03
"""A joint this close to a limit, as a part of its range, is shown in yellow."""

BLANK = Text(" ")
"""A layout draws its own placeholder, a box, instead of an empty text."""

Part = tuple[RenderableType, int]
"""Something to draw and the rows it needs."""


def screen(
    status: Mapping[str, Any] | None,
    events: Sequence[Mapping[str, Any]],
    *,
    problem: str,
    notice: str,
    width: int,
    height: int,
) -> RenderableType:
    """The whole screen. problem: why there is no fresh status, then none is shown. notice: for the bottom line."""
    last = (notice, "bold yellow") if notice else (RUN_KEYS, "dim")
    footer = (_line((KEYS, "reverse"), "  ", last), 1)
    if status is None or problem:
        missing = _line((" NO STATUS ", "bold white on red"), "  ", problem)
        return _stack([(missing, 1), (BLANK, 1), _events(events, max(1, height - 3)), footer])
    top = [_state(status)]
    if status.get("fault"):
        top.append(_fault(status["fault"]))
    bottom = [_middle(status, width, height), _joints(status.get("robot"), width)]
    left = height - sum(rows for _, rows in (*top, *bottom, footer))
    facts = _facts(status)[: max(0, left)]
    seams = _seams(status)
    if left >= FACTS_FIRST + seams[1]:
        bottom.append(seams)
        facts = facts[: left - seams[1]]
        left -= seams[1]
    left -= len(facts)
    if left > 0:
        bottom.append(_events(events, left) if left > 1 else (BLANK, 1))
    return _stack([*top, *facts, *bottom, footer])


def _stack(parts: Sequence[Part]) -> Layout:
    layout = Layout()
    layout.split_column(*(Layout(part, size=rows) for part, rows in parts))
    return layout


def _line(*pieces: str | tuple[str, str]) -> Text:
    return Text.assemble(*pieces, no_wrap=True, overflow="ellipsis")


def _state(status: Mapping[str, Any]) -> Part:
    state, *rest = state_line(status).split("  ")
    style = STATE_STYLES.get(str(status.get("state")), "reverse")
    marked = [(f" {words} ", DRY_STYLE) if words == DRY_RUN else words for words in rest]
    return _line((f" {state} ", style), *(piece for words in marked for piece in ("  ", words))), 1


def _fault(fault: Mapping[str, Any]) -> Part:
    message, cause, next_step = fault_lines(fault)
    return Group(_line((message, BAD)), _line((cause, "red")), _line((next_step, "bold yellow"))), 3


def _facts(status: Mapping[str, Any]) -> list[Part]:
    """One line each, the most needed first: a low terminal shows only the first ones."""
    facts = (
        ("policy", policy_line(status)),
        ("motion", motion_line(status)),
        ("seam", play_line(status)),
        ("guard", guard_line(status)),
        ("robot", robot_line(status)),
        ("daemon", title_line(status)),
        ("recorder", recorder_line(status)),
        ("host", host_line(status)),
    )
    less = look_up(status, "run", "seam_reason")
    styles = {"seam": "bold yellow"} if less else {}
    return [(_line((f"{name:<9}", HEADING), (value, styles.get(name, ""))), 1) for name, value in facts]


def _seams(status: Mapping[str, Any]) -> Part:
    rows = seam_rows(status)
    return _grid(SEAM_COLUMNS, rows, flexible=None), 1 + len(rows)


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]], *, flexible: int | None) -> Table:
    """A table without lines; column number `flexible`, if any, takes what the others leave and is cut to fit."""
    expand, padding = flexible is not None, 1 if flexible is not None else 3
    grid = Table(box=None, padding=(0, padding, 0, 0), header_style=HEADING, pad_edge=False, expand=expand)
    for column, name in enumerate(header):
        left = column == 0 or (column == flexible and column == len(header) - 1)
        grid.add_column(
            name,
            justify="left" if left else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if column == flexible else None,
        )
    for row in rows:
        grid.add_row(*row, style=BAD if {"DEAD", "slow"} & set(row) else "bold" if row[0][:1] == ">" else "")
    return grid


def _middle(status: Mapping[str, Any], width: int, height: int) -> Part:
    """Processes to the left; cameras, loops and latencies to the right."""
    processes = process_rows(status)
    timing = _timing(status, tall=height >= TALL)
    halves = Layout()
    halves.split_row(
        Layout(_processes(processes, wide=width >= WIDE)),
        Layout(BLANK, size=2),
        Layout(Group(*(part for part, _ in timing)), size=RIGHT_COLUMNS),
    )
    return halves, max(1 + len(processes), sum(rows for _, rows in timing))


def _processes(rows: Sequence[Sequence[str]], *, wide: bool) -> Table:
    shown = [
        (name, pid, beat if alive != "DEAD" else alive, cpu, memory, restarts, *((realtime,) if wide else ()))
        for name, pid, alive, beat, cpu, memory, restarts, realtime in rows
    ]
    header = ("process", "pid", "beat", "cpu", "MB", "rst", *(("scheduling",) if wide else ()))
    return _grid(header, shown, flexible=len(header) - 1 if wide else 0)


def _timing(status: Mapping[str, Any], *, tall: bool) -> list[Part]:
    cameras = [(name, health, hz, age, skipped) for name, health, hz, _, age, skipped in camera_rows(status)]
    loops = [(name, *lateness) for name, _, *lateness in loop_rows(status)]
    latencies = latency_rows(status)
    if not tall:
        latencies = [row for row in latencies if row[0] in ("inference", "end to end")]
    return [
        (_grid(("camera", "", "Hz", "age", "skip"), cameras, flexible=0), 1 + len(cameras)),
        (_grid(("late us", "p50", "p99", "max", "missed"), loops, flexible=0), 1 + len(loops)),
        (_grid(("ms", "p50", "p95", "p99", "last"), latencies, flexible=0), 1 + len(latencies)),
    ]


def _joints(robot: Mapping[str, Any] | None, width: int) -> Part:
    """The left arm's joints beside the right arm's, each between its limits."""
    columns = [look_up(robot, key) or [] for key in ("joint_names", "lower", "upper", "q", "q_command")]
    bar_columns = max(8, width // 2 - 21)
    lines = [_joint(*joint, columns=bar_columns) for joint in zip_longest(*columns)]
    grid = Table.grid(padding=(0, 2, 0, 0))
    for left, right in zip_longest(lines[:JOINT_ROWS], lines[JOINT_ROWS:], fillvalue=Text()):
        grid.add_row(left, right)
    heading = _line(("joints   ", HEADING), ("● measured   ┃ commanded   rad, grip in m", "dim"))
    return Group(heading, grid), 1 + JOINT_ROWS


def _joint(name: Any, lower: Any, upper: Any, q: Any, q_command: Any, *, columns: int) -> Text:
    cells: list[tuple[str, str]] = [("─", "dim")] * columns
    style = ""
    if _finite(lower, upper) and lower < upper:
        if _finite(q_command):
            cells[_cell(q_command, lower, upper, columns)] = ("┃", "cyan")
        if _finite(q):
            margin = min(q - lower, upper - q) / (upper - lower)
            style = BAD if margin < 0 else "yellow" if margin < NEAR_LIMIT else "green"
            cells[_cell(q, lower, upper, columns)] = ("●", style)
    value = f"{number(q, 3):>7}"
    return _line(f"{joint_label(str(name)):<10} ", *cells, " ", (value, style if style != "green" else ""))


def _finite(*values: Any) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def _cell(q: float, lower: float, upper: float, columns: int) -> int:
    return min(columns - 1, max(0, round((q - lower) / (upper - lower) * (columns - 1))))


def _events(events: Sequence[Mapping[str, Any]], rows: int) -> Part:
    """The newest at the bottom, one line each."""
    lines = [_line(("events", HEADING))]
    for event in events[-(rows - 1) :]:
        clock = str(event.get("time", ""))[11:19]
        kind = str(event.get("kind", ""))
        style = BAD if kind == "fault" else ""
        lines.append(_line((f"{clock}  ", "dim"), (f"{kind:<10}", style), str(event.get("text", ""))))
    return Group(*lines), rows
