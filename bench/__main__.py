"""Runs the benchmarks by turns and keeps their results: how fast is it on this machine, and compared with what?

    python -m bench                      # all; results into bench/results/<host>, the report into runs/bench
    python -m bench wire --repeats 5     # one of them
    python -m bench --compare            # all; beside the results that are kept, which stay as they are

A result is that of several runs: medians, and what each run found. One benchmark that fails does not keep the others
from running; it keeps its last result, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import compare, report
from bench.host import ROOT, facts
from bench.policy import GPU
from bench.result_files import read, write
from bench.results import Result, merged
from bench.suite import BENCHES, BY_NAME, POLICY, Bench, rounds

RESULTS = ROOT / "bench" / "results"
RUNS = ROOT / "runs" / "bench"


def measure(benches: Sequence[Bench], repeats: int | None, quick: bool) -> tuple[list[Result], list[str]]:
    """The results, and the names of the benchmarks of which a run failed."""
    found: dict[str, list[Result]] = {bench.name: [] for bench in benches}
    failed: list[str] = []
    todo, begin_s = rounds(tuple(benches), repeats), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for i, bench in enumerate(todo):
            print(f"{time.monotonic() - begin_s:5.0f} s  {i + 1} of {len(todo)}: {bench.command}", flush=True)
            file = Path(directory) / f"{bench.name}.json"
            command = [sys.executable, *bench.arguments, *(bench.quick if quick else ()), "--json", str(file)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
            if done.returncode:
                failed.append(bench.name)
            else:
                found[bench.name].append(read(file))
    results = [merged(own) for name, own in found.items() if own and name not in failed]
    return results, sorted(set(failed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = f"{', '.join(BY_NAME)} (without a name all that `make bench` has time for)"
    parser.add_argument("names", nargs="*", metavar="BENCH", help=known)
    parser.add_argument("--repeats", type=int, metavar="N", help="runs of each (as many as each needs)")
    parser.add_argument("--full", action="store_true", help="full sizes: some take minutes")
    parser.add_argument("--host", help="keep the results under this name (what processor and cores make)")
    parser.add_argument("--compare", action="store_true", help="keep nothing; tell what changed since the results kept")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.names if name not in BY_NAME]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    if arguments.repeats is not None and arguments.repeats < 1:
        parser.error(f"--repeats {arguments.repeats} must be 1 or more")
    benches = [BY_NAME[name] for name in arguments.names] or [*BENCHES, *([POLICY] if GPU.exists() else [])]
    if not arguments.names and not GPU.exists():
        print(f"no {GPU}: the calls of the model are left out")
    host = facts(arguments.host)["name"]
    results, failed = measure(benches, arguments.repeats, quick=not arguments.full)
    directory = RUNS / "now" if arguments.compare else RESULTS / host
    for one in results:
        one["host"]["name"] = host
        write(one, directory / f"{one['bench']}.json")
    if arguments.compare:
        compare.main(["--now", str(directory), "--before", str(RESULTS / host), *(one["bench"] for one in results)])
    else:
        report.main(["--host", host])
    if failed:
        print(f"FAILED: {', '.join(failed)}; see above, and run the command again by itself", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
