"""pytest-benchmark's JSON as rows of a result. Pure.

What a benchmark measured is its `extra_info`; the times are its rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results import spread

PER_S = {"ms": 1e3, "us": 1e6}


def rows_of(document: Mapping[str, Any], unit: str) -> list[dict[str, Any]]:
    """A row for each benchmark, in the order they ran. unit: ms or us. Raises ValueError for one that says nothing."""
    rows = []
    for benchmark in document["benchmarks"]:
        if not benchmark["extra_info"]:
            raise ValueError(f"{benchmark['name']} does not say what it measured; fill its benchmark.extra_info")
        rows.append({**benchmark["extra_info"], **spread(benchmark["stats"]["data"], unit, PER_S[unit])})
    return rows
