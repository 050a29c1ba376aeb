"""The numbers of a demo, worked out from its recordings, and the verdict. Pure.

Every number of a run counts, the first chunk and the ramp-up included; nothing is left out as warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from controller.limits import TOLERANCE, Violation, largest_step, violations
from controller.recording import Recording, Rows, chunks_of, ticks_of

SHOWN = 10
"""Violations listed in full, the worst first."""

Numbers = dict[str, float | None]
Report = dict[str, Any]

END_TO_END = "frame in host memory -> first command made from it handed to the driver"
OBSERVATION_AGE = "oldest exposure in the observation -> first command made from it handed to the driver"


def percentiles(values: ArrayLike, *fractions: float) -> Numbers:
    """{"p50": ...}: of the values themselves, never between two of them; None without values."""
    sample = np.asarray(values, dtype=np.float64)
    names = [f"p{fraction * 100:g}".replace(".", "") for fraction in fractions]
    if sample.size == 0:
        return dict.fromkeys(names)
    found = np.quantile(sample, fractions, method="inverted_cdf")
    return {name: round(float(value), 3) for name, value in zip(names, found, strict=True)}


def timing(runs: Sequence[Recording]) -> Report:
    """Ticks and delays of all runs together."""
    ticks = [ticks_of(run) for run in runs]
    chunks = [chunks_of(run) for run in runs]

    def over(rows: list[Rows], later: str, earlier: str, scale: float) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *((row[later] - row[earlier]) * scale for row in rows)])

    lateness = over(ticks, "t_ns", "deadline_ns", 1e-3)
    inference = np.concatenate([np.empty(0), *(row["inference_ms"] for row in chunks)])
    return {
        "ticks": len(lateness),
        "missed_deadlines": int(sum(row["missed"].sum() for row in ticks)),
        "stall_ticks": int(sum(row["stalled"].sum() for row in ticks)),
        "tick_lateness_us": {
            **percentiles(lateness, 0.5, 0.99, 0.999),
            "max": round(float(lateness.max()), 3) if lateness.size else None,
        },
        "chunks": len(inference),
        "inference_ms": percentiles(inference, 0.5, 0.95, 0.99),
        "round_trip_ms": percentiles(over(chunks, "t_received_ns", "t_sent_ns", 1e-6), 0.5, 0.95, 0.99),
        "end_to_end_ms": percentiles(over(chunks, "t_handed_ns", "t_frame_ns", 1e-6), 0.5, 0.95, 0.99),
        "observation_age_ms": percentiles(over(chunks, "t_handed_ns", "t_exposure_oldest_ns", 1e-6), 0.5, 0.95, 0.99),
        "definitions": {"end_to_end_ms": END_TO_END, "observation_age_ms": OBSERVATION_AGE},
    }


def safety(recordings: Sequence[Recording], refused: int) -> Report:
    """What the commands of all motions kept to; `refused` is what the motor process's gate counted."""
    found: set[Violation] = set()  # one motion's last second is also the next recording's first
    steps = [(0.0, 0.0)]
    for recording in recordings:
        found.update(violations(recording.joints, recording.config.robot.limits))
        steps.append(largest_step(recording.joints))
    return {
        "limit_violations": len(found) + refused,
        "limit_check": {
            "recorded_commands_beyond_a_limit": len(found),
            "refused_by_the_motor_process": refused,
            "relative_tolerance": TOLERANCE,
            "worst": [asdict(violation) for violation in sorted(found, key=lambda v: -v.excess)[:SHOWN]],
        },
        "max_command_step": {
            "arm_rad": max(arm for arm, _ in steps),
            "gripper_m": max(gripper for _, gripper in steps),
        },
    }


def verdict(report: Report) -> list[str]:
    """Why the demo failed, one sentence each; empty when it succeeded."""
    reasons = [f"episode {i}: {e['reason']}" for i, e in enumerate(report["episode_results"], 1) if e["reason"]]
    if report["episodes"] != len(report["episode_results"]):
        reasons.append(f"{len(report['episode_results'])} of {report['episodes']} episodes were played")
    if count := report["limit_violations"]:
        reasons.append(f"{count} commands broke a limit{_worst(report['limit_check']['worst'])}")
    if not report["ticks"]:
        reasons.append("no tick of a run was recorded")
    if not report["chunks"]:
        reasons.append("no chunk of actions was executed")
    return reasons


def as_text(report: Report) -> str:
    """The report for a person, on a dozen lines."""
    late, steps, host = report["tick_lateness_us"], report["max_command_step"], report["host"]
    processes = host["realtime"]
    rows = (
        ("task", f"{_task(report)}: {report['episodes_succeeded']} of {report['episodes']} episodes"),
        ("played", _played(report["run_options"])),
        (
            "ticks",
            f"{report['ticks']} in {report['duration_s']:.1f} s, {report['missed_deadlines']} missed, "
            f"{report['stall_ticks']} stalled",
        ),
        ("lateness", f"p50 {_n(late['p50'])}  p99 {_n(late['p99'])}  p99.9 {_n(late['p999'])}  "
                     f"max {_n(late['max'])} us"),
        ("chunks", f"{report['chunks']} executed"),
        ("inference", f"{_delays(report['inference_ms'])}  (as the server tells)"),
        ("round trip", _delays(report["round_trip_ms"])),
        ("end to end", f"{_delays(report['end_to_end_ms'])}  ({END_TO_END})"),
        ("image age", f"{_delays(report['observation_age_ms'])}  ({OBSERVATION_AGE})"),
        (
            "limits",
            f"{report['limit_violations']} violations; largest step {steps['arm_rad'] * 1e3:.2f} mrad, "
            f"gripper {steps['gripper_m'] * 1e3:.2f} mm",
        ),
        ("recording", f"{report['recording']['dropped']} rows dropped"),
        ("machine", f"{host['cpu']}, {host['cores']} cores, {host['busy_percent']} % busy, "
                    f"{host['steal_percent']} % stolen"),
        ("real time", "; ".join(f"{name}: {text}" for name, text in processes.items()) or "unknown"),
    )  # fmt: skip
    return "\n".join(f"{name:<11} {text}" for name, text in rows)


def _task(report: Report) -> str:
    """What was to be done; never the prompt where nobody tried."""
    return f"none ({report['note']}); followed to the end" if report["note"] else f'"{report["prompt"]}"'


def _played(options: dict[str, Any]) -> str:
    """How the runs were played, and what was asked for where that was not to be had."""
    played, asked = options["played"], options["asked"].get("seam")
    if played is None:
        return "-"
    less = "" if asked in (None, played["seam"]) else f" INSTEAD OF {asked}"
    return (
        f"seam {played['seam']}{less}, speed {played['speed']:g}, execution horizon {played['execution_horizon']} steps"
    )


def _worst(violations: Sequence[dict[str, Any]]) -> str:
    if not violations:
        return ""
    worst = violations[0]
    return f"; the worst is {worst['joint']}: {worst['what']} {worst['value']:.4g} (bound {worst['bound']:.4g})"


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _delays(numbers: Numbers) -> str:
    return "  ".join(f"{name} {'-' if v is None else format(v, '.1f')}" for name, v in numbers.items()) + " ms"
