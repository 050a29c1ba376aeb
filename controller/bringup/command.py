"""`pi0ctl bring-up`. Imported by pi0ctl's parser, so it imports the rest only when it is called."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from controller.client import Client
from controller.exits import Exit
from controller.summary import look_up, table
from controller.waiting import complain

if TYPE_CHECKING:
    from controller.bringup.history import History

MOTION_S = 120.0
RUN_S = 20.0

Add = Callable[[str, Callable[..., Exit], float, str], argparse.ArgumentParser]


def add_to(add: Add, seconds: Callable[[str], float]) -> None:
    """Add the command to pi0ctl's parser."""
    up = add("bring-up", _bring_up, MOTION_S, "the first motions of a robot, each asked for and remembered")
    up.add_argument("--prompt", default="", help="the task in words, as in the training data; else it is asked for")
    up.add_argument("--for", dest="seconds", type=seconds, default=RUN_S, metavar="SECONDS", help="of each run (20)")
    up.add_argument("--picture", type=Path, metavar="FILE.png", help="draw the kit at the joints that are read")
    up.add_argument("--from", dest="begin", metavar="STEP", help="begin there; those before it are confirmed already")
    up.add_argument("--history", action="store_true", help="only list who confirmed what")
    up.add_argument("--state", type=Path, metavar="FILE", help="the history (default: bring-up.jsonl where state goes)")


def _bring_up(client: Client, arguments: argparse.Namespace) -> Exit:
    from controller.bringup.history import History, HistoryError

    history = History(arguments.state)
    try:
        return _list(history) if arguments.history else _hold(client, history, arguments)
    except HistoryError as error:
        complain(str(error))
        return Exit.USAGE


def _hold(client: Client, history: History, arguments: argparse.Namespace) -> Exit:
    from controller.bringup.session import Session, Wishes
    from controller.bringup.steps import READING, STEPS

    begin = arguments.begin or READING
    if begin not in STEPS:
        complain(f"--from {begin!r} is none of: {', '.join(STEPS)}")
        return Exit.USAGE
    kind = look_up(client.status(arguments.timeout), "robot", "kind")
    if kind != "sim" and not sys.stdin.isatty():
        complain(f"robot.kind is {kind!r}: a person at a terminal must answer; a pipe may, for a simulation only")
        return Exit.USAGE
    wishes = Wishes(begin, arguments.prompt, arguments.seconds, arguments.picture)
    return Session(client, history, wishes, arguments.timeout).hold()


def _list(history: History) -> Exit:
    entries = history.entries()
    if not entries:
        complain(f"{history.path}: nothing has been confirmed yet")
        return Exit.DONE
    rows = [(e.step, e.result, e.user, e.time.removesuffix("+00:00"), f"{e.robot} {e.version}") for e in entries]
    print("\n".join(table([("step", "result", "by", "time (UTC)", "robot"), *rows])))
    return Exit.DONE
