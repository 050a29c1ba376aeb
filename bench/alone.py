"""The command line of a benchmark that is run by itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from bench.result_files import write
from bench.results import Result
from bench.tables import bars_grid, machine_line, moment_line, rows_grid


def run_alone(bench: Callable[[bool], Result], doc: str | None) -> None:
    """Measure, print the tables, and write the JSON that was asked for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, as `make bench` does")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    arguments = parser.parse_args()
    one = bench(arguments.quick)
    if arguments.json is not None:
        write(one, arguments.json)
    show(one)


def show(one: Result) -> None:
    """On the terminal, as Markdown."""
    print(f"{machine_line(one['host'])}\n{moment_line(one['host'])}\n\n{rows_grid(one).as_markdown()}\n")
    if one["bars"]:
        print(f"{bars_grid(one).as_markdown()}\n")
    for note in one.get("notes", ()):
        print(f"- {note}")
