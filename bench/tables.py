"""A benchmark's result as tables. Pure."""

from __future__ import annotations

from typing import Any

from bench.results import HISTOGRAM, Result
from bench.timings import Grid

QUIET = {
    "busy_percent": "busy",
    "steal_percent": "stolen by its host",
    "cpu_waited_percent": "of the time something waited for a processor",
}


def rows_grid(one: Result) -> Grid:
    """All rows, a column for each field that any of them has."""
    fields = list(dict.fromkeys(name for row in one["rows"] for name in row if name not in ("repeats", HISTOGRAM)))
    cells = [[cell(row.get(field)) for field in fields] for row in one["rows"]]
    return Grid(one["bench"], [field.replace("_", " ") for field in fields], cells)


def bars_grid(one: Result) -> Grid:
    """What was asked for, and whether it was met."""
    cells = [
        [bar["name"], cell(bar["value"]), cell(bar["bound"]), bar["unit"], cell(bar["met"])] for bar in one["bars"]
    ]
    return Grid("bars", ("bar", "value", "bound", "unit", "met"), cells)


def cell(value: Any) -> str:
    """A value as people read it; nothing for what was not measured."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(item) for item in value)
    return str(value)


def machine_line(host: dict[str, Any]) -> str:
    """The stamp: what the figures were measured on."""
    realtime = host["realtime"]
    rights = ", ".join(realtime["granted"]) or "no real-time rights"
    refused = "".join(f", NOT {right}" for right in realtime["refused"])
    versions = ", ".join(f"{name} {host['versions'].get(name)}" for name in ("numpy", "websockets"))
    parts = [
        f"{host['cpu']}, {host['cores']} cores{', virtual machine' * host['virtual']}",
        f"Linux {host['kernel']} ({host['preemption']}), governor {host['governor']}",
        f"{rights}{refused}; {host['cpu_dma_latency']}",
        f"Python {host['python']}, {versions}",
    ]
    return "; ".join(parts)


def moment_line(host: dict[str, Any]) -> str:
    """And when, of which code, and how quiet the machine was."""
    quiet = [f"{host[name]:g} % {word}" for name, word in QUIET.items() if host.get(name) is not None]
    load = " to ".join(f"{load:g}" for load in host["load"])
    return f"commit {host['commit'] or 'unknown'}, {host['begun'][:10]}: {', '.join([*quiet, f'load {load}'])}"
