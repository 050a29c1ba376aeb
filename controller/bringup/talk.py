"""The conversation with the person: says, shows and asks, on a terminal or through a pipe."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterable

from controller.summary import table

YES = ("y", "yes")


def say(text: str = "") -> None:
    print(text, flush=True)


def show(rows: Iterable[tuple[str, ...]]) -> None:
    """A table, the first row its header."""
    for line in table(rows):
        say(f"  {line}")


def agreed(question: str) -> bool:
    """Only y and yes agree; an empty line, anything else and the end of the input do not.

    On a terminal, what was typed before the question was asked is no answer to it.
    """
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    return told(f"{question} [y/N]").lower() in YES


def told(question: str) -> str:
    """One line; empty at the end of the input."""
    say(question)
    print("> ", end="", flush=True)
    return sys.stdin.readline().strip()
