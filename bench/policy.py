"""How long does one call of the model take on this machine's GPU, and how long must it at least?

    python -m bench.policy [--quick] [--json FILE]

`bench/policy_latency.py` with random parameters, as a result like all others. Full size and all batches take minutes;
--quick times single requests only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.alone import run_alone
from bench.host import ROOT, Host
from bench.results import Result, result

GPU = Path("/dev/nvidia0")
FIELDS = ("p50_ms", "p95_ms", "p99_ms", "max_ms", "bound_ms", "ratio")


def rows_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each timing of policy_latency's JSON, under the title of its table."""
    return [
        {"table": title, "what": timing["what"], "n": timing["n"]}
        | {field: timing[field] for field in FIELDS if timing.get(field) is not None}
        for title, timings in document["timings"].items()
        for timing in timings
    ]


def conditions_of(document: Mapping[str, Any]) -> list[str]:
    """What was measured, and on what, a line each."""
    return [f"{name}: {fact}" for name, fact in document["conditions"].items() if name != "host"]


def bench(quick: bool = False) -> Result:
    """One run. Raises CalledProcessError if it failed; it has said why."""
    host = Host()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "latency.json"
        command = [sys.executable, "bench/policy_latency.py", "--rtc", "--json", str(file)]
        subprocess.run([*command, *(["--batch", "1"] if quick else [])], cwd=ROOT, stdout=sys.stderr, check=True)
        document = json.loads(file.read_text(encoding="utf-8"))
    return result("policy", host.header(), rows_of(document), notes=conditions_of(document))


if __name__ == "__main__":
    run_alone(bench, __doc__)
