"""The daemon's status as text: the words and numbers that `pi0ctl status` prints and the live screen shares.

Pure. Every field of the status may be null or absent; it then reads "-".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Status = Mapping[str, Any]
SPEED_SHOWN = 0.01
"""A speed this far from the one asked for is told."""

UNKNOWN = "-"
DRY_RUN = "DRY RUN: nothing is commanded"


def look_up(status: Any, *keys: str) -> Any:
    """The value under nested keys, None as soon as one of them is absent or null."""
    for key in keys:
        if not isinstance(status, Mapping):
            return None
        status = status.get(key)
    return status


def number(value: Any, digits: int = 0, unit: str = "") -> str:
    """A number with its unit, or "-"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return UNKNOWN
    return f"{value:.{digits}f}{unit and ' ' + unit}"


def text(value: Any) -> str:
    """A word, or "-"."""
    return UNKNOWN if value is None or value == "" else str(value)


def yes_no(value: Any, yes: str, no: str) -> str:
    """One of two words, or "-"."""
    return UNKNOWN if value is None else (yes if value else no)


def duration(seconds: Any) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    if not isinstance(seconds, int | float):
        return UNKNOWN
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def state_line(status: Status) -> str:
    """State, dry or not, homing, a guard that is off, motion and prompt in one line."""
    dry = [DRY_RUN] if status.get("dry") else []
    parts = [text(status.get("state")).upper(), *dry, yes_no(status.get("homed"), "homed", "not homed")]
    if look_up(status, "guard", "enabled") is False:
        parts.append("guard OFF")
    if status.get("motion_id"):
        parts.append(f"motion {status['motion_id']}")
    if status.get("preparing"):
        parts.append(f"preparing {status['preparing']}")
    if status.get("prompt"):
        parts.append(f'"{status["prompt"]}"')
    return "  ".join(parts)


def fault_lines(fault: Mapping[str, Any]) -> list[str]:
    """What happened, why, and what to do next."""
    reset = "" if fault.get("resettable") else "  (not yet: the arms brake, or a process is being started again)"
    return [
        f"{text(fault.get('code'))}: {text(fault.get('message'))}",
        f"cause: {text(fault.get('cause'))}",
        f"next:  {text(fault.get('next_step'))}{reset}",
    ]


def joint_label(name: str) -> str:
    """left_joint_0 -> left 0, left_left_carriage_joint -> left grip."""
    side, _, joint = name.partition("_")
    return f"{side} grip" if "carriage" in joint else f"{side} {joint.removeprefix('joint_')}"


def process_name(name: str) -> str:
    """camera cam_left_wrist -> cam_left_wrist: the word camera says nothing new."""
    return name.removeprefix("camera ")


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns padded to their widest cell; the first to the left, the others to the right."""
    kept = list(rows)
    widths = [max(len(row[column]) for row in kept) for column in range(len(kept[0]))]
    lines = []
    for row in kept:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]))
    return lines


def process_rows(status: Status) -> list[tuple[str, ...]]:
    """name, pid, alive, heartbeat age in ms, CPU in %, memory in MB, restarts, realtime."""
    return [
        (
            process_name(name),
            text(look_up(row, "pid")),
            yes_no(look_up(row, "alive"), "alive", "DEAD"),
            number(look_up(row, "beat_age_ms")),
            number(look_up(row, "cpu_percent")),
            number(look_up(row, "rss_mb")),
            number(look_up(row, "restarts")),
            text(look_up(row, "realtime")),
        )
        for name, row in (look_up(status, "processes") or {}).items()
    ]


def loop_rows(status: Status) -> list[tuple[str, ...]]:
    """name, rate in Hz, lateness p50, p99 and max in microseconds, missed ticks: control, then motor."""
    return [
        (
            loop,
            number(look_up(status, loop, "rate_hz")),
            *(number(look_up(status, loop, "lateness_us", key)) for key in ("p50", "p99", "max")),
            number(look_up(status, loop, "missed")),
        )
        for loop in ("control", "motor")
    ]


def camera_rows(status: Status) -> list[tuple[str, ...]]:
    """name, health, measured rate and wanted rate in Hz, age of the newest frame in ms, skipped frames."""
    return [
        (
            name,
            yes_no(look_up(row, "alive"), yes_no(look_up(row, "at_rate"), "ok", "slow"), "DEAD"),
            number(look_up(row, "measured_hz"), 1),
            number(look_up(row, "rate_hz")),
            number(look_up(row, "frame_age_ms")),
            number(look_up(row, "skipped")),
        )
        for name, row in (look_up(status, "cameras") or {}).items()
    ]


def input_lines(status: Status) -> list[str]:
    """What a run lives on: alive, at rate, valid, age and its bound in ms, and why it is not fit."""
    inputs = look_up(status, "inputs") or {}
    rows = [
        (
            name,
            *(yes_no(look_up(row, key), "yes", "NO") for key in ("alive", "at_rate", "valid")),
            number(look_up(row, "age_ms")),
            number(look_up(row, "bound_ms")),
        )
        for name, row in inputs.items()
    ]
    lines = table([("input", "alive", "at rate", "valid", "age ms", "bound"), *rows])
    reasons = ["", *(look_up(row, "reason") or "" for row in inputs.values())]
    return [f"{line}  {reason}" for line, reason in zip(lines, reasons, strict=True)]


LATENCIES = (
    ("inference", "inference_ms"),
    ("round trip", "round_trip_ms"),
    ("end to end", "end_to_end_ms"),
    ("obs. age", "observation_age_ms"),
)


def latency_rows(status: Status) -> list[tuple[str, ...]]:
    """name, then p50, p95, p99 and last in ms."""
    return [
        (name, *(number(look_up(status, "policy", key, q), 1) for q in ("p50", "p95", "p99", "last")))
        for name, key in LATENCIES
    ]


def policy_line(status: Status) -> str:
    """Whether the policy server is connected, where it is, or why not."""
    policy = status.get("policy")
    connected = yes_no(look_up(policy, "connected"), "connected", "NOT CONNECTED")
    names = [look_up(policy, "server", key) or "" for key in ("server", "policy")]
    words = [connected, *names, text(look_up(policy, "url"))]
    if look_up(policy, "error"):
        words.append(f"({look_up(policy, 'error')})")
    return "  ".join(word for word in words if word)


def summary(status: Status) -> str:
    """The whole status for a person, aligned, at most a screen long."""
    facts = [
        ("state", state_line(status)),
        ("allowed", ", ".join(status.get("allowed") or []) or UNKNOWN),
        *((f"not {name}", text(why)) for name, why in (status.get("refusals") or {}).items()),
    ]
    if status.get("fault"):
        facts += [("fault" if i == 0 else "", line) for i, line in enumerate(fault_lines(status["fault"]))]
    facts += [("robot", robot_line(status)), ("policy", policy_line(status))]
    facts += [
        ("motion", motion_line(status)),
        ("seam", f"{played(status)}  delay {delay(status)} (expected/last)"),
        ("guard", guard_line(status)),
        ("recorder", recorder_line(status)),
        ("host", host_line(status)),
    ]
    blocks = [[title_line(status)], table_of_facts(facts)]
    header = ("process", "pid", "", "beat ms", "cpu %", "MB", "restarts")
    blocks.append(with_realtime(table([header, *(row[:7] for row in process_rows(status))]), status))
    blocks.append(table([("camera", "", "Hz", "of", "age ms", "skipped"), *camera_rows(status)]))
    blocks.append(input_lines(status))
    blocks.append(table([("lateness us", "Hz", "p50", "p99", "max", "missed"), *loop_rows(status)]))
    blocks.append(table([("latency ms", "p50", "p95", "p99", "last"), *latency_rows(status)]))
    blocks.append(table([SEAM_COLUMNS, *seam_rows(status)]))
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks)


def title_line(status: Status) -> str:
    """Version, pid, time since start, configuration."""
    return (
        f"pi0-controller {text(status.get('version'))}  pid {text(status.get('pid'))}  "
        f"up {duration(status.get('uptime_s'))}  config {text(status.get('config'))}"
    )


def robot_line(status: Status) -> str:
    """Kind of robot, what the motor process does with it, how old the reading is, whether contacts are watched."""
    robot = status.get("robot")
    line = f"{text(look_up(robot, 'kind'))}  mode {text(look_up(robot, 'mode'))}  "
    line += f"state {number(look_up(robot, 'age_ms'), 0, 'ms')} old"
    if look_up(robot, "environment"):
        in_cup = look_up(robot, "environment", "lighter_in_cup")
        line += f"  lighter {yes_no(in_cup, 'in the cup', 'not in the cup')}"
    if look_up(robot, "temperature"):
        degrees = number(look_up(robot, "temperature", "hottest_celsius"), 0, "°C")
        warm = yes_no(look_up(robot, "temperature", "warm"), "  WARM", "")
        line += f"  {joint_label(look_up(robot, 'temperature', 'hottest'))} {degrees}{warm}"
    return line + f"  contact {text(look_up(robot, 'contact'))}"


def motion_line(status: Status) -> str:
    """How the timeline is doing: phase, chunks, what is left of the plan."""
    control, motor = status.get("control"), status.get("motor")
    return (
        f"{text(look_up(control, 'phase'))}  plan left {number(look_up(control, 'plan_left_s'), 2, 's')}  "
        f"chunks {number(look_up(control, 'chunks'))}  late {number(look_up(control, 'late_chunks'))}  "
        f"stalled {number(look_up(control, 'stall_ticks'))}  refused {number(look_up(motor, 'refused'))}  "
        f"lease margin {number(look_up(motor, 'lease_margin_min_ms'), 0, 'ms')}"
    )


def played(status: Status) -> str:
    """Seam and speed of the run, and what was asked for where that is not to be had; without a run, the last seam."""
    run, now = status.get("run"), look_up(status, "control", "speed")
    if run is None:
        return text(look_up(status, "control", "seam"))
    words = text(look_up(run, "seam"))
    if look_up(run, "seam_reason"):
        words += f" INSTEAD OF {text(look_up(run, 'seam_asked'))}: {run['seam_reason']}"
    speed = look_up(run, "speed")
    words += f"  speed {number(speed, 2)}"
    if None not in (speed, now) and abs(speed - now) >= SPEED_SHOWN:
        words += f" (now {number(now, 2)})"
    return words


def play_line(status: Status) -> str:
    """How the run is played, what the seams are like that way, and how late answers are, expected and real."""
    seam = look_up(status, "run", "seam") or look_up(status, "control", "seam")
    row = look_up(status, "control", "seams", text(seam))
    gap, gap_max = (number(look_up(row, key), 1) for key in ("gap_last_mrad", "gap_max_mrad"))
    at_seams, inside = (number(look_up(row, f"{key}_acceleration"), 1) for key in ("seam", "inside"))
    return f"{played(status)}  gap {gap}/{gap_max} mrad  acc {at_seams}:{inside}  delay {delay(status)}"


def delay(status: Status) -> str:
    """From an observation to the use of its actions: what is expected, then what it was the last time."""
    policy = status.get("policy")
    real = number(look_up(policy, "observation_age_ms", "last"), 0, "ms")
    return f"{number(look_up(policy, 'expected_delay_ms'))}/{real}"


SEAM_COLUMNS = ("seam", "splices", "gap mrad", "largest", "acc rad/s2", "inside")


def seam_rows(status: Status) -> list[tuple[str, ...]]:
    """How the ways from chunk to chunk compare: key and name, splices, last and largest gap from the old plan to the
    new one in mrad, largest acceleration at seams and elsewhere in rad/s2; the one in effect is marked."""
    seams = look_up(status, "control", "seams") or {}
    current = look_up(status, "run", "seam")
    keys = ("gap_last_mrad", "gap_max_mrad", "seam_acceleration", "inside_acceleration")
    return [
        (
            f"{'>' if name == current else ' '}{key} {name}",
            number(look_up(row, "count")),
            *(number(look_up(row, field), 1) for field in keys),
        )
        for key, (name, row) in enumerate(seams.items(), 1)
    ]


def guard_line(status: Status) -> str:
    """What the collision guard sees ahead."""
    guard = status.get("guard")
    if look_up(guard, "enabled") is False:
        return "OFF: nobody looks ahead for collisions"
    line = f"checks {number(look_up(guard, 'checks'))}  last {number(look_up(guard, 'check_ms'), 1, 'ms')}"
    line += f"  nearest {text(look_up(guard, 'nearest'))}"
    if look_up(guard, "nearest"):
        line += f" {number(look_up(guard, 'nearest_mm'), 0, 'mm')} in {number(look_up(guard, 'ahead_s'), 2, 's')}"
    return line


def recorder_line(status: Status) -> str:
    """Whether and where a recording is made, and what it lost."""
    recorder = status.get("recorder")
    line = yes_no(look_up(recorder, "recording"), "recording", "not recording")
    if look_up(recorder, "directory"):
        line += f"  {look_up(recorder, 'directory')}"
    return f"{line}  rows {number(look_up(recorder, 'rows'))}  dropped {number(look_up(recorder, 'dropped'))}"


def host_line(status: Status) -> str:
    """How much of the machine is left to us."""
    host = status.get("host")
    return f"load {number(look_up(host, 'load'), 2)}  stolen {number(look_up(host, 'steal_percent'), 1, '%')}"


def table_of_facts(facts: list[tuple[str, str]]) -> list[str]:
    """Two columns, both to the left."""
    width = max(len(name) for name, _ in facts)
    return [f"{name.ljust(width)}  {value}" for name, value in facts]


def with_realtime(lines: list[str], status: Status) -> list[str]:
    """The process table with each process's scheduling behind it, where it can be of any length."""
    return [
        lines[0],
        *(f"{line}  {row[7]}" for line, row in zip(lines[1:], process_rows(status), strict=True)),
    ]
