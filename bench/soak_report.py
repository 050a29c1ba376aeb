"""What a soak found, in words and as JSON. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.growth import QUANTITIES, Lives, growth_rows
from bench.results import Bar, Result, result
from controller.limits import Violation

HOST_STALL_S = 0.08
"""From here on, a stall of the host may explain a fault."""

UNITS = tuple(QUANTITIES.values())


@dataclass
class Outcome:
    """What came of one episode.

    fault, message: the latched one, "" for none. expected, may_pass: as of the plan; may_stall: the plan may run out.
    brake_s: from the cause to the first braking command, where the cause is known; bound_s: the fault matrix's for it.
    rest_s: from there to rest. stall_ticks: of the control process. host_stall_s: the longest.
    """

    number: int
    options: dict[str, Any]
    latency_ms: float
    disturbance: str
    state: str
    fault: str = ""
    message: str = ""
    expected: list[str] = field(default_factory=list)
    may_pass: bool = True
    as_expected: bool = True
    ticks: int = 0
    longest_gap_s: float = 0.0
    brake_s: float | None = None
    bound_s: float | None = None
    rest_s: float | None = None
    stall_ticks: int = 0
    may_stall: bool = False
    host_stall_s: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    steps: list[Violation] = field(default_factory=list)
    took_s: float = 0.0


def _told(outcome: Outcome) -> str:
    wanted = " or ".join([*outcome.expected, *(["none"] * outcome.may_pass)])
    return f"{outcome.fault or 'no fault'} in place of {wanted}: {outcome.message}"


def _worst(found: Sequence[Violation]) -> str:
    most = max(found, key=lambda one: one.value / max(abs(one.bound), 1e-9))
    return f"{len(found)}, worst {most.joint} {most.what} {most.value:.5g} (bound {most.bound:.5g}), t_ns {most.t_ns}"


def _late(outcome: Outcome) -> str:
    """Empty if braking began in time, or nothing says when it should have."""
    brake_s, bound_s = outcome.brake_s, outcome.bound_s
    if brake_s is None or bound_s is None or brake_s <= bound_s:
        return ""
    return f"{outcome.fault} braked after {1e3 * brake_s:.0f} ms (bound {1e3 * bound_s:.0f} ms)"


NEVER: dict[str, Callable[[Outcome], str]] = {
    "limit violations": lambda one: _worst(one.violations) if one.violations else "",
    "discontinuities": lambda one: _worst(one.steps) if one.steps else "",
}
"""What must not be, whatever happens: what was found of it in an episode, or empty."""

NOT_ON_A_MACHINE_THAT_RUNS: dict[str, Callable[[Outcome], str]] = {
    "unexpected faults": lambda one: "" if one.as_expected else _told(one),
    "stalls without a cause": lambda one: (
        f"{one.stall_ticks} ticks" if one.stall_ticks and not one.may_stall and not one.fault else ""
    ),
    "late reactions": _late,
}
"""What must not be either, unless the host took the processors away."""


def _cases(outcomes: Sequence[Outcome], find: Callable[[Outcome], str]) -> list[str]:
    return [f"episode {one.number} ({one.disturbance}): {text}" for one in outcomes if (text := find(one))]


def must_be_none(outcomes: Sequence[Outcome], left: list[str], dropped: int) -> dict[str, list[str]]:
    """Each thing that must not be, with every case of it."""
    ran = [one for one in outcomes if one.host_stall_s < HOST_STALL_S]
    return {
        **{name: _cases(outcomes, find) for name, find in NEVER.items()},
        **{name: _cases(ran, find) for name, find in NOT_ON_A_MACHINE_THAT_RUNS.items()},
        "motor ticks unseen": [f"{dropped} ticks"] * bool(dropped),
        "leftovers": left,
    }


def explained_by_host(outcomes: Sequence[Outcome]) -> list[str]:
    """What the host's standing still excuses."""
    stood = [one for one in outcomes if one.host_stall_s >= HOST_STALL_S]
    return [f"{name}: {case}" for name, find in NOT_ON_A_MACHINE_THAT_RUNS.items() for case in _cases(stood, find)]


def times_of(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """One row for each code: how often, and how long until braking and from there to rest."""
    rows = []
    for code in sorted({one.fault for one in outcomes if one.fault}):
        own = [one for one in outcomes if one.fault == code]
        brakes = [one.brake_s for one in own if one.brake_s is not None]
        rests = [one.rest_s for one in own if one.rest_s is not None]
        bounds = [one.bound_s for one in own if one.bound_s is not None]
        rows.append(
            {
                "code": code,
                "count": len(own),
                "brake_median_ms": 1e3 * median(brakes) if brakes else None,
                "brake_max_ms": 1e3 * max(brakes) if brakes else None,
                "bound_ms": 1e3 * max(bounds) if bounds else None,
                "rest_median_ms": 1e3 * median(rests) if rests else None,
                "rest_max_ms": 1e3 * max(rests) if rests else None,
            }
        )
    return rows


def document(outcomes: Sequence[Outcome], lives: Lives, left: list[str], dropped: int, **more: Any) -> dict[str, Any]:
    """Everything, in JSON types."""
    return {
        **more,
        "episodes": len(outcomes),
        "motor_ticks": sum(one.ticks for one in outcomes),
        "minutes": sum(one.took_s for one in outcomes) / 60.0,
        "faults": times_of(outcomes),
        "stall_ticks": sum(one.stall_ticks for one in outcomes),
        "host_stalls": sorted((one.host_stall_s for one in outcomes if one.host_stall_s >= HOST_STALL_S), reverse=True),
        "explained_by_host": explained_by_host(outcomes),
        "growth": growth_rows(lives),
        "must_be_none": must_be_none(outcomes, left, dropped),
        "played": [asdict(one) for one in outcomes],
    }


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.0f}"


def _growth_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    head = f"{'process':24}{'lives':>6}{'longest min':>13}" + "".join(f"{word:>9}{'per hour':>18}" for word in UNITS)
    lines = [head]
    for row in rows:
        line = f"{row['process']:24}{row['lives']:6}{row['minutes']:13.1f}"
        for word in UNITS:
            slope, error = row.get(f"{word}_per_hour"), row.get(f"{word}_per_hour_error")
            line += f"{row[word]:9.4g}" + (f"{'-':>18}" if slope is None else f"{slope:+10.2f} ± {error:5.2f}")
        lines.append(line)
    return lines


def as_result(report: dict[str, Any], host: dict[str, Any]) -> Result:
    """In the form of other benchmarks' results: what came of it, and a bar for each thing that must not be.

    Where processes were spared, "growth" with a row for each of them: lives are too short to tell it otherwise.
    """
    whole = {"what": "all episodes"} | {name: report[name] for name in ("minutes", "episodes", "motor_ticks")}
    whole["faults"] = sum(row["count"] for row in report["faults"])
    whole |= {name.replace(" ", "_"): len(cases) for name, cases in report["must_be_none"].items()}
    bars = [Bar(name, len(cases), 0, "") for name, cases in report["must_be_none"].items()]
    notes = [f"seed {report['seed']}"]
    if not report["spared"]:
        return result("soak", host, [whole], bars, notes=notes)
    notes.append(", ".join(f"{whole[name]:g} {name.replace('_', ' ')}" for name in ("minutes", "episodes", "faults")))
    return result("growth", host, report["growth"], bars, notes=notes)


def as_text(report: dict[str, Any]) -> str:
    """For people."""
    disturbances = Counter(one["disturbance"] for one in report["played"])
    n_faults = sum(row["count"] for row in report["faults"])
    lines = [
        f"{report['episodes']} episodes in {report['minutes']:.1f} min (seed {report['seed']}): "
        f"{report['motor_ticks']} motor ticks seen, {n_faults} faults, {report['stall_ticks']} stall ticks",
        "",
        "disturbances: " + ", ".join(f"{name} {count}" for name, count in sorted(disturbances.items())),
        "",
        f"{'fault':20}{'count':>6}{'cause to braking ms':>22}{'bound':>7}{'braking to rest ms':>21}",
        f"{'':26}{'median':>13}{'max':>9}{'':7}{'median':>12}{'max':>9}",
    ]
    for row in report["faults"]:
        cells = [_number(row[key]) for key in ("brake_median_ms", "brake_max_ms", "bound_ms")]
        rests = [_number(row[key]) for key in ("rest_median_ms", "rest_max_ms")]
        lines.append(
            f"{row['code']:20}{row['count']:6}{cells[0]:>13}{cells[1]:>9}{cells[2]:>7}{rests[0]:>12}{rests[1]:>9}"
        )
    lines += ["", *_growth_lines(report["growth"])]
    stalls = report["host_stalls"]
    longest = f", longest {1e3 * stalls[0]:.0f} ms" if stalls else ""
    lines += ["", f"the host stood still for {1e3 * HOST_STALL_S:.0f} ms or more in {len(stalls)} episodes{longest}"]
    lines += [f"  explains {text}" for text in report["explained_by_host"]]
    lines += ["", "must be none:"]
    for name, cases in report["must_be_none"].items():
        lines += [f"  {name}: {len(cases) or 'none'}", *(f"    {case}" for case in cases)]
    return "\n".join(lines) + "\n"
