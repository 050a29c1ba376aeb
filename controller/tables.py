"""The tables of the code as pages of the documentation; `python -m controller.tables docs` writes them.

What operators read about states and faults is thus what the daemon does; a test fails when a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from controller import config_page
from controller.config import load, shipped
from controller.fault_matrix import MATRIX, Reaction, bound_s
from controller.faults import FAULTS
from controller.processes import table
from controller.states import TRANSITIONS, mermaid

NOTE = "<!-- Written by `python -m controller.tables docs`; change the table in the code, not this page. -->"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def states_page() -> str:
    """docs/states.md: the diagram, and each transition with what it needs."""
    lines = [
        "# States",
        "",
        NOTE,
        "",
        "The arms may move in `homing` and `running` only, and only while the supervisor renews the lease.",
        "",
        "```mermaid",
        mermaid(),
        "```",
        "",
        _row("Trigger", "From", "To", "Needs"),
        _row("---", "---", "---", "---"),
    ]
    for trigger, before, after, guard in TRANSITIONS:
        needs = " ".join((guard.__doc__ or "").split()) if guard is not None else "nothing"
        lines.append(_row(f"`{trigger.value}`", f"`{before.value}`", f"`{after.value}`", needs))
    lines += [
        "",
        "A trigger that is not in the table for a state, or that lacks what it needs, is refused with the reason and",
        "with the triggers that are allowed instead; nothing changes. `trip` is the machine's own trigger, raised by",
        "every fault; `arrived` comes when the arms are measured at the pose that the move leads to. Arriving at home",
        "makes the arms homed; a fault or a jog undoes it. `pi0ctl stop` is never refused: where nothing moves it",
        "changes nothing.",
        "`pi0ctl estop` is `trip`; on top of a fault it takes that fault's place.",
    ]
    return "\n".join(lines) + "\n"


def faults_page() -> str:
    """docs/faults.md: one row for each fault."""
    lines = [
        "# Faults",
        "",
        NOTE,
        "",
        "A fault drops the plan, brakes the arms within their limits and holds them. It lasts until `pi0ctl reset`,",
        "which wants motor, control and guard alive, joint readings that can be believed, and the arms at rest. The",
        "message adds the measured number and its bound.",
        "",
        _row("Code", "Number", "What happened", "Cause", "Next step"),
        _row("---", "---", "---", "---", "---"),
    ]
    lines += [
        _row(f"`{code.name.lower()}`", str(code.value), fault.title, fault.cause, fault.next_step)
        for code, fault in FAULTS.items()
    ]
    return "\n".join([*lines, *_matrix()]) + "\n"


def _matrix() -> list[str]:
    config = load(shipped("sim"))
    beats = {row.loss: row.beat_s for row in table(config)}
    lines = [
        "",
        "## What fails when",
        "",
        "The same rows by state. The time is from the cause to the first braking command, the sum of what is named,",
        "with the configuration `sim`; a fault that shows only while the arms move counts from their having moved.",
        "",
        *(f"* **{_word(reaction)}**: {reaction.value}" for reaction in Reaction),
        "",
        _row("Code", "`idle`", "`homing`", "`running`", "Braking begins within"),
        _row("---", "---", "---", "---", "---"),
    ]
    for code, row in MATRIX.items():
        time_s = bound_s(code, config, beats.get(code, 0.0))
        bound = "" if time_s is None else f"{1e3 * time_s:.0f} ms: {' + '.join(row.within)}"
        cells = (_word(row.idle), _word(row.homing), _word(row.running))
        lines.append(_row(f"`{code.name.lower()}`", *cells, bound))
    return lines


def _word(reaction: Reaction | None) -> str:
    return "" if reaction is None else reaction.name.lower()


def configuration_page() -> str:
    """docs/configuration.md: one row for each key."""
    return "\n".join(["# Configuration", "", NOTE, "", *config_page.lines()]) + "\n"


PAGES = {"states.md": states_page, "faults.md": faults_page, "configuration.md": configuration_page}


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: python -m controller.tables DIRECTORY (one that exists, such as docs)")
    for name, page in PAGES.items():
        Path(sys.argv[1], name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
