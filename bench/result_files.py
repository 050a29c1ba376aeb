"""A benchmark's result as a file: JSON, a row to a line, so that a change shows what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.results import Result, Row


def write(one: Result, path: Path) -> None:
    """Into a file whose directory need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = {name: "\n".join(["[", *_lines(one[name]), "  ]"]) for name in ("rows", "bars") if one[name]}
    rest = json.dumps(one | dict.fromkeys(listed), indent=1, ensure_ascii=False, allow_nan=False)
    for name, text in listed.items():
        rest = rest.replace(f'"{name}": null', f'"{name}": {text}', 1)
    path.write_text(rest + "\n", encoding="utf-8")


def _lines(rows: Sequence[Row]) -> list[str]:
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    return [f"  {line}," for line in lines[:-1]] + [f"  {lines[-1]}"]


def read(path: Path) -> Result:
    """One result."""
    one: Result = json.loads(path.read_text(encoding="utf-8"))
    return one
