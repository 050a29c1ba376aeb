"""The benchmarks that pytest-benchmark times, as results like all others.

    python -m bench.micro wire [--json FILE]       # or shm, policy_toy

Times what `python -m pytest bench/test_wire.py` times, which shows more statistics and takes pytest's options.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.alone import show
from bench.host import ROOT, Host
from bench.pytest_rows import rows_of
from bench.result_files import write
from bench.results import Bar, Result, result

Rows = Sequence[dict[str, Any]]
ROUND_TRIP_BOUND_MS = 2.0


def wire_bars(rows: Rows) -> list[Bar]:
    """A request of four pictures as the policy sees them, there and back."""
    wanted = {"link": "loopback", "cameras": 4, "size": "224x224", "encoding": "raw", "peer": "ours"}
    own = next(row for row in rows if row.items() >= wanted.items())
    what = "round trip of a request with 4 cameras over loopback, median"
    return [Bar(what, own["p50_ms"], ROUND_TRIP_BOUND_MS, "ms")]


@dataclass(frozen=True, slots=True)
class Micro:
    """A file of benchmarks. key: as of a result."""

    file: str
    unit: str
    key: tuple[str, ...] = ()
    bars: Callable[[Rows], list[Bar]] = lambda rows: []


MICRO = {
    "shm": Micro("test_shm.py", "us"),
    "wire": Micro("test_wire.py", "ms", ("cameras",), wire_bars),
    "policy_toy": Micro("test_policy.py", "ms"),
}


def bench(name: str) -> Result:
    """One run of one of MICRO. Raises CalledProcessError if a benchmark failed; pytest has said why."""
    micro, host = MICRO[name], Host()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "benchmark.json"
        command = [sys.executable, "-m", "pytest", "-q", f"bench/{micro.file}", f"--benchmark-json={file}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
            done.check_returncode()
        rows = rows_of(json.loads(file.read_text(encoding="utf-8")), micro.unit)
    return result(name, host.header(), rows, micro.bars(rows), key=micro.key)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MICRO)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    arguments = parser.parse_args()
    one = bench(arguments.name)
    if arguments.json is not None:
        write(one, arguments.json)
    show(one)


if __name__ == "__main__":
    main()
