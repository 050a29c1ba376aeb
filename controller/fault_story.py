"""A fault's dump in words: the events about it, and where every joint was. Pure."""

from __future__ import annotations

import numpy as np

from controller.follower import Mode
from controller.recording import Recording
from controller.robots.base import GRIPPERS, JOINT_NAMES
from controller.summary import joint_label, table

LAST_NS = 1_000_000_000
"""How long before the fault is told."""


def last_events(recording: Recording) -> list[str]:
    """One line per event of the last second and of the braking."""
    t_fault_ns = _t_ns(recording)
    near = [event for event in recording.events if event["t_ns"] >= t_fault_ns - LAST_NS]
    lines = [f"  {(event['t_ns'] - t_fault_ns) * 1e-9:+7.3f}  {event['kind']:<11}  {event['text']}" for event in near]
    return lines or ["  nothing was told"]


def joint_lines(recording: Recording) -> list[str]:
    """Command, measurement and speed of each joint at the fault, and when the arms were at rest."""
    rows, t_fault_ns = recording.joints, _t_ns(recording)
    if len(rows) == 0:
        return ["no joint reading was recorded"]
    row = rows[max(int(np.searchsorted(rows["t_command_ns"], t_fault_ns, side="right")) - 1, 0)]
    ago_ms = (t_fault_ns - int(row["t_command_ns"])) * 1e-6
    heading = [f"joints {ago_ms:.0f} ms before the fault (rad, rad/s; grippers mm, mm/s):"]
    cells: list[tuple[str, ...]] = [("joint", "command", "measured", "apart", "speed", "effort")]
    for joint, name in enumerate(JOINT_NAMES):
        scale, digits = (1e3, 2) if joint in GRIPPERS else (1.0, 4)
        command, measured = row["q_command"][joint] * scale, row["q"][joint] * scale
        numbers = (command, measured, command - measured, row["qd"][joint] * scale)
        cells.append((joint_label(name), *(f"{value:.{digits}f}" for value in numbers), f"{row['effort'][joint]:.2f}"))
    return [*heading, *(f"  {line}" for line in table(cells)), _rest(recording)]


def _rest(recording: Recording) -> str:
    after = recording.joints[recording.joints["t_command_ns"] >= _t_ns(recording)]
    resting = (after["mode"] == Mode.HOLD) & (after["qd_command"] == 0.0).all(axis=1)
    if not resting.any():
        return "at rest: not within what was recorded"
    rest_ms = (int(after["t_command_ns"][np.argmax(resting)]) - _t_ns(recording)) * 1e-6
    return f"at rest: {rest_ms:.0f} ms after the fault"


def _t_ns(recording: Recording) -> int:
    """Of the fault; of a motion's recording its beginning."""
    fault = recording.fault or {}
    return int(fault.get("t_ns", recording.meta["started_monotonic_ns"]))
