"""The form of a benchmark's results, and several runs of one made a single one. Pure.

    {"bench": name, "host": {...}, "rows": [{...}], "bars": [{"name", "value", "bound", "unit", "met"}]}

Of a row, texts and the fields that "key" lists say what was measured; other numbers are what was found, their unit at
the end of the name. After `merged` they are medians of the runs, which "repeats" holds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

Result = dict[str, Any]
Row = Mapping[str, Any]

BUSY = ("busy_percent", "steal_percent", "cpu_waited_percent")
DIGITS = 4
HISTOGRAM = "histogram"
"""The field of a row that holds one: [upper edge, count] of each bin, whole numbers; drawn, and in no table."""

ENOUGH = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """A value that must not lie above its bound."""

    name: str
    value: float
    bound: float
    unit: str

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a result."""
        return asdict(self) | {"met": self.value <= self.bound}


def result(
    bench: str,
    host: Mapping[str, Any],
    rows: Iterable[Row],
    bars: Iterable[Bar] = (),
    *,
    key: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Result:
    """key: fields of a row that are numbers and yet say what was measured. notes: what was left out, and why."""
    return {
        "bench": bench,
        "host": dict(host),
        "key": list(key),
        "rows": [_rounded(row) for row in rows],
        "bars": [bar.as_dict() for bar in bars],
        "notes": list(notes),
    }


def spread(values: Sequence[float], unit: str, scale: float = 1.0) -> dict[str, float]:
    """Number, median and tail; each is a value that occurred, times `scale`.

    Fewer than ENOUGH values have no 99th percentile: it would be the largest by another name.
    """
    if not len(values):
        raise ValueError(f"no value of {unit} was measured; see why the benchmark timed nothing")
    p50, p99 = (float(value) * scale for value in np.quantile(values, (0.5, 0.99), method="inverted_cdf"))
    tail = {f"p99_{unit}": p99} if len(values) >= ENOUGH else {}
    return {"n": len(values), f"p50_{unit}": p50, **tail, f"max_{unit}": max(values) * scale}


def names(row: Row, key: Sequence[str]) -> tuple[str, ...]:
    """What a row measured: all that is not a finding, in the row's order."""
    return tuple(str(value) for name, value in row.items() if name in key or isinstance(value, str))


def findings(row: Row, key: Sequence[str]) -> dict[str, float]:
    """The numbers that a row found."""
    return {
        name: value
        for name, value in row.items()
        if name not in key and isinstance(value, int | float) and not isinstance(value, bool)
    }


def by_names(one: Result) -> dict[tuple[str, ...], Row]:
    """The rows. Raises ValueError if two measured the same."""
    key = one.get("key", ())
    rows = {names(row, key): row for row in one["rows"]}
    if len(rows) != len(one["rows"]):
        twice = next(name for name in rows if [names(row, key) for row in one["rows"]].count(name) > 1)
        raise ValueError(f"two rows of {one['bench']} are named {twice}; list what tells them apart in its key {key}")
    return rows


def merged(runs: Sequence[Result]) -> Result:
    """One result of several runs of the same benchmark. A row that a run lacks comes from the others."""
    first = runs[0]
    if {run["bench"] for run in runs} != {first["bench"]}:
        raise ValueError(f"these are different benchmarks: {[run['bench'] for run in runs]}")
    rows: dict[tuple[str, ...], list[Row]] = {}
    for run in runs:
        for name, row in by_names(run).items():
            rows.setdefault(name, []).append(row)
    key = first.get("key", ())
    return first | {
        "host": _merged_host([run["host"] for run in runs]),
        "rows": [_merged_row(own, key) for own in rows.values()],
        "bars": [_median_bar([run["bars"][i] for run in runs]) for i in range(len(first["bars"]))],
        "runs": len(runs),
    }


def _merged_row(own: Sequence[Row], key: Sequence[str]) -> dict[str, Any]:
    repeats = {
        name: values
        for name in findings(own[0], key)
        if len(values := [row[name] for row in own if row.get(name) is not None]) == len(own) > 1
    }
    medians = {name: median(values) for name, values in repeats.items() if name != "n"}
    histogram = {HISTOGRAM: _sum(row[HISTOGRAM] for row in own if HISTOGRAM in row)} if HISTOGRAM in own[0] else {}
    return _rounded({**own[0], **medians, **histogram}) | ({"repeats": repeats} if repeats else {})


def _sum(histograms: Iterable[Sequence[Sequence[int]]]) -> list[list[int]]:
    total: Counter[int] = Counter()
    for bins in histograms:
        total.update(dict(bins))  # type: ignore[arg-type]
    return [[edge, count] for edge, count in sorted(total.items())]


def _median_bar(bars: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the two in the middle of an even number, the worse."""
    known = sorted((bar for bar in bars if bar["value"] is not None), key=lambda bar: bar["value"])
    return known[len(known) // 2] if known else bars[0]


def _merged_host(hosts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """As of the first run; it took all the time, and was as busy as in the busiest."""
    worst = {
        name: max(values) if (values := [host[name] for host in hosts if host.get(name) is not None]) else None
        for name in BUSY
    }
    loads = [load for host in hosts for load in host["load"]]
    took_s = round(sum(host["took_s"] for host in hosts), 1)
    return {**hosts[0], **worst, "took_s": took_s, "load": [min(loads), max(loads)]}


def _rounded(row: Row) -> dict[str, Any]:
    return {name: _round(value) for name, value in row.items()}


def _round(value: Any) -> Any:
    """More digits than the noise leaves would only make the files differ."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ValueError(f"a benchmark found {value}; leave out what was not measured, or give None")
    return float(f"{value:.{DIGITS}g}")
