"""The figures that the README shows: which rows of which results, and how they read. Pure.

`{0[p50_ms]}` in a text is that field of the first row picked, as `bench.tables.cell` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.results import Result, Row
from bench.tables import cell
from bench.waterfall import AGE, END_TO_END, OVERHEAD


@dataclass(frozen=True, slots=True)
class Highlight:
    """One line. rows: what tells each row of the result from the others. host: "" the document's own."""

    what: str
    bench: str
    rows: tuple[Mapping[str, Any], ...]
    text: str
    host: str = ""


def _frames(policy_ms: float, *stages: str) -> tuple[Mapping[str, Any], ...]:
    return tuple({"scheduling": "fifo", "policy_ms": policy_ms, "stage": stage} for stage in stages)


CLIENTS = ("ours", "openpi client", "LeRobot asynchronous client")


def _clients(policy_ms: float) -> tuple[Mapping[str, Any], ...]:
    return tuple({"client": client, "policy_ms": policy_ms} for client in CLIENTS)


def _loop(load: str) -> tuple[Mapping[str, Any], ...]:
    return tuple({"load": load, "scheduling": "fifo", "program": program} for program in ("ours", "cyclictest"))


def _request(link: str) -> tuple[Mapping[str, Any], ...]:
    whole = {"link": link, "cameras": 4, "size": "224x224", "encoding": "raw"}
    return tuple(whole | {"peer": peer} for peer in ("ours", "stock"))


def _bimodal(delay_ms: float) -> tuple[Mapping[str, Any], ...]:
    whole = {"task": "bimodal", "jitter": 0.0, "delay_ms": delay_ms}
    return tuple(whole | {"method": method} for method in ("rtc", "stock"))


FROM_FRAME = "newest frame in host memory → first command made from it, 4 cameras at 30 Hz"
BESIDE = "ours {0[p50_us]}, p99 {0[p99_us]} µs; cyclictest {1[p50_us]}, {1[p99_us]} µs"
FRAME = ("shm, filled in place", "pipe", "queue")

HIGHLIGHTS = (
    Highlight(
        f"{FROM_FRAME}, policy of 0 ms", "end_to_end", _frames(0.0, END_TO_END), "p50 {0[p50_ms]}, p99 {0[p99_ms]} ms"
    ),
    Highlight(
        "the same, policy of 20 ms",
        "end_to_end",
        _frames(20.0, END_TO_END, OVERHEAD),
        "p50 {0[p50_ms]}, p99 {0[p99_ms]} ms, of which ours p50 {1[p50_ms]}",
    ),
    Highlight(
        "oldest exposure in the observation → that command, policy of 20 ms",
        "end_to_end",
        _frames(20.0, AGE),
        "p50 {0[p50_ms]}, p99 {0[p99_ms]} ms",
    ),
    Highlight(
        "frame → command beside other clients of the same server, policy of 0 ms, p50",
        "peers",
        _clients(0.0),
        "ours {0[p50_ms]}, openpi's client {1[p50_ms]}, LeRobot's {2[p50_ms]} ms",
    ),
    Highlight(
        "times without a command for over 40 ms, policy of 40 ms",
        "peers",
        _clients(40.0),
        "ours {0[stalls]}, openpi's client {1[stalls]}, LeRobot's {2[stalls]}",
    ),
    Highlight("lateness of the 50 Hz loop, SCHED_FIFO, idle", "control_loop", _loop("idle"), BESIDE),
    Highlight("the same beside hogs of processor, memory and disk", "control_loop", _loop("load"), BESIDE),
    Highlight(
        "a request with 4 pictures there and back, loopback",
        "wire",
        _request("loopback"),
        "ours {0[p50_ms]}, openpi's {1[p50_ms]} ms",
    ),
    Highlight(
        "the same over a gigabit", "wire", _request("gigabit"), "ours {0[p50_ms]}, openpi's {1[p50_ms]} ms"
    ),
    Highlight(
        "a frame of 480x640 from one process into another",
        "hand_over",
        tuple({"what": "frame", "transport": transport, "readers": 1} for transport in FRAME),
        "shared memory {0[p50_ms]}, a pipe {1[p50_ms]}, multiprocessing.Queue {2[p50_ms]} ms",
    ),
    Highlight(
        "daemon started → takes commands",
        "startup",
        ({"what": "daemon start -> takes commands"}, {"what": "daemon killed -> a new one takes commands"}),
        "{0[p50_ms]} ms; {1[p50_ms]} after SIGKILL",
    ),
    Highlight(
        "a process killed in mid-motion → braking, at rest",
        "startup",
        ({"what": "camera killed -> braking"}, {"what": "camera killed -> at rest"}),
        "{0[p50_ms]}, {1[p50_ms]} ms",
    ),
    Highlight(
        "the policy server restarted → a run is allowed",
        "startup",
        ({"what": "server restarted -> run allowed"},),
        "{0[p50_ms]} ms",
    ),
    Highlight(
        "the whole daemon in a run, 4 cameras and simulated physics",
        "cost",
        (
            {"process": "all processes of the daemon", "cameras": 4},
            {"process": "one more camera, in all that sees pictures"},
        ),
        "{0[cpu_percent]} % of a core, {0[pss_mb]} MB; one more camera {1[cpu_percent]} %, {1[pss_mb]} MB",
    ),
    Highlight(
        "π0 at full size, 3 cameras, bfloat16, on an H200, host to host",
        "policy_latency",
        (
            {"table": "whole calls, host to host", "what": "3 cameras, batch 1"},
            {"what": "plain path, 3 cameras, batch 1"},
        ),
        "p50 {0[p50_ms]}, p99 {0[p99_ms]} ms; {1[p50_ms]} with the reference's structure",
        host="nvidia-h200",
    ),
    Highlight(
        "a task of two minds, answers after 100 ms: `rtc` beside openpi's client",
        "closed_loop",
        _bimodal(100.0),
        "done {0[successes]} and {1[successes]} of {0[episodes]}; {0[stall_ticks]} and {1[stall_ticks]} stalled ticks; "
        "{0[seam_acceleration]} and {1[seam_acceleration]} rad/s² at seams",
    ),
    Highlight(
        "real episodes mixed with faults",
        "soak",
        ({"what": "all episodes"},),
        "{0[episodes]} with {0[faults]} faults, {0[unexpected_faults]} unexpected; {0[motor_ticks]} motor ticks, "
        "{0[limit_violations]} limits broken, {0[discontinuities]} discontinuities",
    ),
    Highlight(
        "bad chunks and the collision guard",
        "guard_misses",
        ({"what": "bad chunks"},),
        "{0[would_touch]} of {0[n]} would have touched, {0[misses]} did; false alarms: {0[false_alarms]}",
    ),
)


def told(one: Highlight, found: Result) -> str:
    """How it reads. Raises ValueError where the result has not just one such row, or not that field."""
    picked = [_picked(found, wanted) for wanted in one.rows]
    try:
        return one.text.format(*({name: cell(value) for name, value in row.items()} for row in picked))
    except KeyError as error:
        raise ValueError(f"{one.bench} has no field {error} in the row {one.rows}; run it anew") from error


def _picked(found: Result, wanted: Mapping[str, Any]) -> Row:
    rows: list[Row] = [row for row in found["rows"] if all(row.get(name) == value for name, value in wanted.items())]
    if len(rows) != 1:
        raise ValueError(f"{len(rows)} rows of {found['bench']} are {dict(wanted)}, must be one; run it anew")
    return rows[0]
