"""What a running daemon says of itself, as findings: cameras and arms are its own, nobody else may ask them. Pure."""

from __future__ import annotations

from typing import Any

from controller.doctor.machine import judge_lateness
from controller.findings import Finding, Level
from controller.summary import Status, look_up

GRANTED_STEP = "give the service LimitRTPRIO=40 and LimitMEMLOCK=infinity; see docs/inference-pc.md"


def daemon(status: Status, *, real: bool) -> list[Finding]:
    """State, processes and their rights, lateness of the two loops."""
    return [_state(status), _processes(status), _rights(status, real=real), *_loops(status)]


def cameras(status: Status) -> list[Finding]:
    """By the daemon's own reading."""
    return [_camera(status, name, row) for name, row in (look_up(status, "cameras") or {}).items()]


def arms(status: Status) -> list[Finding]:
    joints, robot = look_up(status, "inputs", "joints") or {}, look_up(status, "robot") or {}
    reason = joints.get("reason")
    if reason or look_up(status, "processes", "motor", "alive") is False:
        text = f"{robot.get('kind')}: joints {reason or 'unknown: the motor process is lost'}"
        return [Finding(Level.FAIL, "joints", text, "check power and network of the arms and the daemon's log")]
    age = f"{joints.get('age_ms')} ms old (bound {joints.get('bound_ms')})"
    return [
        Finding(Level.OK, "joints", f"{robot.get('kind')}: readings at rate, {age}, mode {robot.get('mode')}"),
        _contact(str(robot.get("contact"))),
    ]


def _state(status: Status) -> Finding:
    fault = status.get("fault")
    if fault:
        return Finding(Level.WARN, "state", f"fault {fault.get('message')}", str(fault.get("next_step")))
    homed = "homed" if status.get("homed") else "not homed"
    return Finding(Level.OK, "state", f"{status.get('state')}, {homed}, {status.get('config')}")


def _processes(status: Status) -> Finding:
    rows = look_up(status, "processes") or {}
    lost = [name for name, row in rows.items() if row.get("alive") is False]
    again = sum(row.get("restarts") or 0 for row in rows.values())
    text = f"{len(rows)} alive, started again {again} times"
    step = "read the daemon's log (journalctl -u pi0-controller)"
    if lost:
        return Finding(Level.FAIL, "processes", f"lost: {', '.join(lost)}", step)
    return Finding(Level.WARN, "processes", text, step) if again else Finding(Level.OK, "processes", text)


def _rights(status: Status, *, real: bool) -> Finding:
    rows = look_up(status, "processes") or {}
    refused = [f"{name}: {words}" for name, row in rows.items() if "NOT" in (words := str(row.get("realtime") or ""))]
    if refused:
        return Finding(Level.FAIL if real else Level.WARN, "real time", "; ".join(refused), GRANTED_STEP)
    return Finding(Level.OK, "real time", f"motor: {look_up(rows, 'motor', 'realtime') or 'none asked'}")


def _loops(status: Status) -> list[Finding]:
    found = []
    for loop in ("control", "motor"):
        late: Any = look_up(status, loop, "lateness_us") or {}
        if late.get("p99") is not None and late.get("max") is not None:
            found.append(judge_lateness(f"{loop} ticks", late["p99"], late["max"]))
    return found


def _camera(status: Status, name: str, row: Any) -> Finding:
    measured, wanted = row.get("measured_hz"), row.get("rate_hz")
    size, skipped = f"{row.get('width')}x{row.get('height')}", row.get("skipped")
    text = f"{size}, {measured or 0:g} of {wanted or 0:g} Hz, {skipped} skipped"
    reason = look_up(status, "inputs", name, "reason")
    if row.get("alive") and row.get("at_rate") and not reason:
        return Finding(Level.OK, name, text)
    why = reason or ("too slow" if row.get("alive") else "its process is lost")
    step = "check cable and USB port, what else runs here, and the daemon's log"
    return Finding(Level.FAIL, name, f"{text}: {why}", step)


def _contact(contact: str) -> Finding:
    if contact == "watched":
        return Finding(Level.OK, "contact guard", "watched")
    step = "set robot.limits.contact, or stay away from the arms"
    return Finding(Level.WARN, "contact guard", f"{contact}: nobody feels what the arms run into", step)
