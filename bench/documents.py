"""Figures in the documents, written from the results that are kept. Pure.

A document says where they stand and whose they are:

    <!-- bench: wire amd-epyc-2-cores -->
    <!-- bench: end -->

What is between the two lines is written by `python -m bench.report --docs`: the rows of one benchmark with the command
that makes them; "bars", what was asked for, of all benchmarks; "highlights", what the README shows; or "host", what the
machine is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bench.highlights import HIGHLIGHTS, told
from bench.results import Result
from bench.suite import BY_NAME
from bench.tables import cell, machine_line, moment_line, rows_grid
from bench.timings import Grid

Kept = Mapping[str, Mapping[str, Result]]
"""Results by host and benchmark."""

_BLOCK = re.compile(r"(<!-- bench: (\S+) (\S+) -->\n).*?(<!-- bench: end -->)", re.DOTALL)


def filled(text: str, kept: Kept) -> str:
    """The document with its figures. Raises ValueError for a block whose results are not there."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{block(found[2], found[3], kept)}\n\n{found[4]}", text)


def block(what: str, host: str, kept: Kept) -> str:
    """What stands between two marks."""
    if host not in kept:
        raise ValueError(f"no results of {host} are kept; `make bench` on it makes some, there are {sorted(kept)}")
    results = kept[host]
    if what == "bars":
        return bars_of(list(results.values())).as_markdown()
    if what == "highlights":
        return highlights_of(host, kept).as_markdown(numbers=False)
    if what == "host":
        return machine_line(next(iter(results.values()))["host"])
    if what not in results:
        raise ValueError(f"{host} has no result of {what}, only {sorted(results)}; `make bench ARGS={what}` makes it")
    one = results[what]
    return f"`{command_of(one)}`; {moment_line(one['host'])}.\n\n{rows_grid(one).as_markdown()}"


def highlights_of(host: str, kept: Kept) -> Grid:
    """The README's figures, each with the command that measures it. Raises ValueError where a result is not there."""
    rows = []
    for one in HIGHLIGHTS:
        of = one.host or host
        if one.bench not in kept.get(of, {}):
            raise ValueError(f"{of} has no result of {one.bench}; `make bench ARGS={one.bench}` on it makes one")
        found = kept[of][one.bench]
        rows.append((one.what, told(one, found), f"`{command_of(found)}`"))
    return Grid("highlights", ("", "measured", "command"), rows)


def bars_of(results: Sequence[Result]) -> Grid:
    """Every bar with the command that measures it."""
    rows = [
        (bar["name"], *(f"{cell(bar[side])} {bar['unit']}" for side in ("value", "bound")), cell(bar["met"]), command)
        for one in results
        for command in [f"`{command_of(one)}`"]
        for bar in one["bars"]
    ]
    return Grid("bars", ("", "measured", "at most", "met", "command"), rows)


def command_of(one: Result) -> str:
    """What to type for the figures of a result."""
    return BY_NAME[one["bench"]].command if one["bench"] in BY_NAME else f"python -m bench.{one['bench']}"
