"""The tables of the code as pages of the documentation; `python -m controller.tables docs` writes them.

What operators read about states and faults is thus what the daemon does; a test fails when a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from controller.faults import FAULTS
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
        "every fault; `arrived` comes when the arms are measured at the home pose. Arriving makes the arms homed, a",
        "fault undoes it. `pi0ctl stop` is never refused: where nothing moves it changes nothing.",
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
        "which wants the motor and control processes alive and the arms at rest. The message adds the measured number",
        "and its bound.",
        "",
        _row("Code", "Number", "What happened", "Cause", "Next step"),
        _row("---", "---", "---", "---", "---"),
    ]
    lines += [
        _row(f"`{code.name.lower()}`", str(code.value), fault.title, fault.cause, fault.next_step)
        for code, fault in FAULTS.items()
    ]
    return "\n".join(lines) + "\n"


PAGES = {"states.md": states_page, "faults.md": faults_page}


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: python -m controller.tables DIRECTORY (one that exists, such as docs)")
    for name, page in PAGES.items():
        Path(sys.argv[1], name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
