"""What changed since the results that are kept: better, worse, or only noise?

    python -m bench --compare                      # measure now (make bench-compare)
    python -m bench.compare --now DIR --before DIR # two sets of results that are there

Prints what changed and every finding that the noise leaves open; --all prints all of them. What counts as a change is
said in `bench/verdict.py`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.result_files import read
from bench.results import Result
from bench.tables import cell, moment_line
from bench.timings import Grid
from bench.verdict import FLOOR, Change, Verdict, changes, only_in_one

COLUMNS = ("row", "finding", "before", "now", "now / before", "95 %", "verdict")
SHOWN = (Verdict.BETTER, Verdict.WORSE, Verdict.UNCLEAR)


def lines(before: Result, now: Result, floor: float, everything: bool) -> list[str]:
    """One benchmark, as Markdown."""
    found = list(changes(before, now, floor))
    counted = Counter(one.verdict.value for _, one in found)
    told = ", ".join(f"{n} {verdict}" for verdict, n in counted.most_common()) or "nothing to compare"
    out = [f"## {now['bench']}: {told}", ""]
    if before["host"]["cpu"] != now["host"]["cpu"] or before["host"]["cores"] != now["host"]["cores"]:
        out += ["**These are two different machines.**", ""]
    out += [f"- {when}: {moment_line(one['host'])}" for when, one in (("before", before), ("now", now))]
    out += [f"- {text}" for text in only_in_one(before, now)] + [""]
    shown = [(name, one) for name, one in found if everything or one.verdict in SHOWN]
    if shown:
        out += [
            Grid(
                "", ("row", "finding", "before", "now", "now / before", "95 %", "verdict"), rows_of(shown)
            ).as_markdown(),
            "",
        ]
    return out


def rows_of(found: Sequence[tuple[str, Change]]) -> list[Sequence[str]]:
    """The worst first."""
    order = {verdict: i for i, verdict in enumerate((Verdict.WORSE, Verdict.BETTER, *Verdict))}
    return [
        (
            name,
            one.what.replace("_", " "),
            cell(one.before),
            cell(one.now),
            "" if math.isnan(one.ratio) else f"{one.ratio:.2f}",
            "" if math.isnan(one.low) else f"{one.low:.2f} to {one.high:.2f}",
            one.verdict.value,
        )
        for name, one in sorted(found, key=lambda pair: order[pair[1].verdict])
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Ends with a sentence if there is nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="BENCH", help="(all that both have)")
    parser.add_argument("--now", type=Path, required=True, metavar="DIR")
    parser.add_argument("--before", type=Path, required=True, metavar="DIR")
    parser.add_argument("--floor", type=float, default=FLOOR, help="a change of this part is none (%(default)s)")
    parser.add_argument("--all", action="store_true", help="print what stayed the same, too")
    arguments = parser.parse_args(argv)
    names = arguments.names or sorted(path.stem for path in arguments.now.glob("*.json"))
    if not names:
        sys.exit(f"no results in {arguments.now}; `make bench` makes them")
    for name in names:
        then = arguments.before / f"{name}.json"
        if not then.exists():
            print(f"## {name}: no result in {arguments.before} to compare with; `make bench` keeps one\n")
            continue
        now = read(arguments.now / f"{name}.json")
        print("\n".join(lines(read(then), now, arguments.floor, arguments.all)))


if __name__ == "__main__":
    main()
