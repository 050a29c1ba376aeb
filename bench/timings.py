"""Times of repeated runs, and tables of them for the terminal and for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich import box
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of `n` runs; no tail for what was not timed by itself.

    bound_ms: the roofline; None where it says nothing. program_bytes: on the device, arguments included.
    """

    what: str
    n: int
    p50_ms: float
    p95_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    bound_ms: float | None = None
    compile_s: float | None = None
    program_bytes: int | None = None

    @property
    def ratio(self) -> float | None:
        """Which part of the roofline was reached."""
        return None if self.bound_ms is None else self.bound_ms / self.p50_ms


class Grid(NamedTuple):
    """A table, for the terminal or the documentation."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def on_screen(self) -> Table:
        """As rich prints it."""
        table = Table(title=self.title, box=box.SIMPLE, title_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def as_markdown(self, numbers: bool = True) -> str:
        """As a table in Markdown, without the title. numbers: whether all but the first column are such."""
        lines = [self.columns, ["---", *["---:" if numbers else "---"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def timings_grid(title: str, timings: Sequence[Timing]) -> Grid:
    """Times in ms beside their bounds."""
    columns = ("", "p50 ms", "p95", "p99", "max", "bound ms", "bound / p50", "compile s", "memory GB")
    rows = [
        (
            t.what,
            *(shown(value) for value in (t.p50_ms, t.p95_ms, t.p99_ms, t.max_ms, t.bound_ms)),
            shown(t.ratio, ".2f" if (t.ratio or 1) >= 0.01 else ".4f"),
            shown(t.compile_s, ".1f"),
            shown(None if t.program_bytes is None else t.program_bytes / 1e9, ".2f"),
        )
        for t in timings
    ]
    return Grid(title, columns, rows)


def shown(value: float | None, form: str = ".3f") -> str:
    """A number, or nothing where there is none."""
    return "" if value is None else format(value, form)
