"""What the demo says while it runs: one line that rewrites itself, or plain lines where nobody looks on."""

from __future__ import annotations

import shutil
from typing import Any, TextIO

from controller.summary import look_up, number


class Progress:
    """Live on a terminal; without one only `say` prints."""

    def __init__(self, out: TextIO, *, live: bool) -> None:
        self._out = out
        self._live = live

    def say(self, line: str) -> None:
        """A line that stays."""
        self._print(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")

    def show(self, episode: str, elapsed_s: float, status: dict[str, Any]) -> None:
        """Where the episode is now; replaces the line before."""
        self._replace(live_line(episode, elapsed_s, status))

    def wait(self, what: str, elapsed_s: float) -> None:
        """What is being waited for; replaces the line before."""
        self._replace(f"{what}: {elapsed_s:.0f} s")

    def _replace(self, line: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._print("\r\x1b[K" + line[:width])

    def _print(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def live_line(episode: str, elapsed_s: float, status: dict[str, Any]) -> str:
    """State, time, timing and task in one line."""
    in_cup = look_up(status, "robot", "environment", "lighter_in_cup")
    parts = (
        f"{episode}: {look_up(status, 'state') or '-'} {elapsed_s:.1f} s",
        "LIGHTER IN CUP" if in_cup else "lighter not in cup",
        f"late p99 {number(look_up(status, 'control', 'lateness_us', 'p99'), 0, 'us')}",
        f"inference {number(look_up(status, 'policy', 'inference_ms', 'p50'), 1, 'ms')}",
        f"end to end {number(look_up(status, 'policy', 'end_to_end_ms', 'p50'), 0, 'ms')}",
    )
    return "  ".join(parts)
