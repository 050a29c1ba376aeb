"""The conversation with the person: says, shows and asks, on a terminal or through a pipe."""

from __future__ import annotations

import sys
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
    """Only y and yes agree; an empty line, anything else and the end of the input do not."""
    return told(f"{question} [y/N]").lower() in YES


def told(question: str) -> str:
    """One line; empty at the end of the input."""
    say(question)
    print("> ", end="", flush=True)
    return sys.stdin.readline().strip()
