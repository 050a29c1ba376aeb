"""The daemon's state as one JSON document: what `pi0ctl status`, the live screen and scripts read."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from controller import dumps, layout
from controller.board import camera_process
from controller.config import fingerprint
from controller.config_robot import both_arms
from controller.follower import Mode
from controller.inputs import at_rate
from controller.planner import Phase
from controller.robots.base import JOINT_NAMES
from controller.run_options import Seam
from controller.states import OPERATOR, State
from controller.ticker import percentile_us

if TYPE_CHECKING:
    from controller.supervisor import Supervisor

VERSION = version("pi0-controller")


def _number(value: Any, digits: int = 2) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def server_of(link_status: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """What the policy server said of itself, as the link last wrote it."""
    text = layout.text(link_status["server"])
    return json.loads(text) if text else None


def _lateness(status: np.ndarray[Any, Any]) -> dict[str, float | None]:
    fractions = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    late = {name: percentile_us(status["lateness"], fraction) for name, fraction in fractions.items()}
    return {name: None if value is None else round(value, 1) for name, value in late.items()} | {
        "max": _number(status["lateness_max_us"], 1)
    }


def _processes(daemon: Supervisor, now_ns: int) -> dict[str, Any]:
    unknown = {"cpu_percent": None, "rss_mb": None}
    own = daemon.usage.by_pid.get(os.getpid(), unknown)
    rows: dict[str, Any] = {
        "supervisor": {"pid": os.getpid(), "alive": True, "beat_age_ms": 0.0, "restarts": 0} | own
        | {"realtime": daemon.realtime}
    }
    for name, running in daemon.children.all.items():
        age_s = running.beat_age_s(now_ns)
        rows[name] = {
            "pid": running.pid,
            "alive": running.healthy if running.has_beaten else None,
            "beat_age_ms": None if age_s is None else _number(1e3 * age_s, 1),
            "restarts": running.restarts,
            **daemon.usage.by_pid.get(running.pid or 0, unknown),
            "realtime": layout.text(running.status["realtime"]) or None,
        }
    return rows


def _robot(daemon: Supervisor, now_ns: int) -> dict[str, Any]:
    config = daemon.config.robot
    record = np.zeros((), layout.JOINTS)
    known = daemon.owned.rings["joints"].reader().newest(record)
    vectors = {"q": "q", "q_command": "q_command", "qd": "qd", "effort": "effort"}
    return {
        "kind": config.kind,
        "joint_names": list(JOINT_NAMES),
        **{key: [_number(value, 5) for value in record[field]] if known else None for key, field in vectors.items()},
        "temperature": _temperature(daemon),
        "contact": _contact(config.limits.contact is not None, record["external_effort"]) if known else None,
        "mode": Mode(int(record["mode"])).name.lower() if known else None,
        "lower": both_arms(config.limits.lower).tolist(),
        "upper": both_arms(config.limits.upper).tolist(),
        "age_ms": _number((now_ns - int(record["t_ns"])) * 1e-6) if known else None,
        "environment": _environment(daemon),
    }


def _temperature(daemon: Supervisor) -> dict[str, Any] | None:
    """Degrees Celsius of each joint, and the joint that is nearest to its bound; None of a robot that does not say."""
    status = daemon.children["motor"].status
    celsius = status["temperature"]
    if not status["ticks"] or np.isnan(celsius).all():
        return None
    hottest = int(np.nanargmax(celsius))
    return {
        "celsius": [_number(value, 1) for value in celsius],
        "hottest": JOINT_NAMES[hottest],
        "hottest_celsius": _number(celsius[hottest], 1),
        "bound_celsius": daemon.config.robot.trossen.warm_c,
        "warm": bool(celsius[hottest] >= daemon.config.robot.trossen.warm_c),
    }


def _contact(watched: bool, effort: np.ndarray[Any, Any]) -> str:
    """Whether the contact guard works: it needs bounds, and a driver that reports external efforts."""
    if not watched:
        return "off"
    return "not reported" if np.isnan(effort).any() else "watched"


def _environment(daemon: Supervisor) -> dict[str, Any] | None:
    record = np.zeros((), layout.WORLD)
    if not daemon.config.robot.is_simulated or not daemon.owned.rings["world"].reader().newest(record):
        return None
    from controller.sim.task import ENVIRONMENT_NAMES, lighter_in_cup

    values = record["environment"][: int(record["n_environment"])]
    return {
        "names": list(ENVIRONMENT_NAMES),
        "values": values.round(5).tolist(),
        "lighter_in_cup": lighter_in_cup(values),
        "scene_count": int(record["scene_count"]),
    }


def _cameras(daemon: Supervisor, now_ns: int) -> dict[str, Any]:
    rows = {}
    for name, camera in daemon.config.cameras.items():
        running = daemon.children[camera_process(name)]
        status = running.status
        t_frame_ns = daemon.inputs.t_frame_ns(name)
        rows[name] = {
            "alive": running.healthy,
            "at_rate": at_rate(status),
            "rate_hz": _number(status["rate_hz"]),
            "measured_hz": _number(status["measured_hz"]),
            "frame_age_ms": _number((now_ns - t_frame_ns) * 1e-6) if t_frame_ns else None,
            "frames": int(status["frames"]),
            "skipped": int(status["skipped"]),
            "repeated": int(status["repeated"]),
            "letterbox_us": _number(status["letterbox_us"], 0),
            "watch_us": _number(status["watch_us"], 0),
            "brightness": _number(status["brightness"], 1),
            "same_frames": int(status["same_frames"]),
            "dark_frames": int(status["dark_frames"]),
            "backwards": int(status["backwards"]),
            "width": camera.width,
            "height": camera.height,
        }
    return rows


def _inputs(daemon: Supervisor, now_ns: int) -> dict[str, Any]:
    found = daemon.inputs.health(daemon.machine.state is State.RUNNING, now_ns)
    return {
        name: {
            "alive": health.alive,
            "at_rate": health.at_rate,
            "valid": health.valid,
            "age_ms": None if health.age_ms is None else _number(health.age_ms),
            "bound_ms": _number(health.bound_ms),
            "reason": health.reason or None,
        }
        for name, health in found.items()
    }


def _control(daemon: Supervisor) -> dict[str, Any]:
    status = daemon.children["control"].status
    return {
        "rate_hz": daemon.config.control.rate_hz,
        "ticks": int(status["ticks"]),
        "missed": int(status["missed"]),
        "lateness_us": _lateness(status),
        "stall_ticks": int(status["stall_ticks"]),
        "chunks": int(status["chunks"]),
        "q_planned": _planned(daemon),
        "late_chunks": int(status["late_chunks"]),
        "phase": Phase(int(status["phase"])).name.lower(),
        "plan_left_s": _number(status["plan_left_s"], 3),
        "seam": Seam(int(status["seam"])).word,
        "speed": _number(status["speed"], 3),
        "seams": {seam.word: _seam(status, seam) for seam in Seam},
    }


def _planned(daemon: Supervisor) -> list[float] | None:
    """Where control's newest piece leads, in a dry run too; None while no motion is planned."""
    record = np.zeros((), layout.TICK)
    known = daemon.owned.rings["tick"].reader().newest(record)
    if not known or daemon.machine.state not in (State.HOMING, State.RUNNING):
        return None
    of_now = int(record["motion_id"]) == daemon.orders.motion_id
    planned: list[float] = record["q1"].round(5).tolist()
    return planned if of_now else None


def _seam(status: np.ndarray[Any, Any], seam: Seam) -> dict[str, Any]:
    """How one way from chunk to chunk has done since the daemon's start; of the arm joints."""
    count = int(status["seams"][seam])
    measured = {
        "gap_last_mrad": 1e3 * status["gap_last_rad"][seam],
        "gap_max_mrad": 1e3 * status["gap_max_rad"][seam],
        "seam_acceleration": status["seam_acceleration"][seam],
        "inside_acceleration": status["inside_acceleration"][seam],
    }
    return {"count": count, **{name: _number(value) if count else None for name, value in measured.items()}}


def _motor(daemon: Supervisor) -> dict[str, Any]:
    status = daemon.children["motor"].status
    return {
        "rate_hz": daemon.config.robot.rate_hz,
        "ticks": int(status["ticks"]),
        "missed": int(status["missed"]),
        "lateness_us": _lateness(status),
        "refused": int(status["refused"]),
        "lease_margin_min_ms": _number(status["lease_margin_min_us"] * 1e-3),
    }


def _policy(daemon: Supervisor) -> dict[str, Any]:
    status = daemon.children["link"].status
    return {
        "url": daemon.config.policy.url,
        "connected": bool(status["connected"]),
        "server": server_of(status),
        "error": layout.text(status["error"]) or None,
        "requests": int(status["requests"]),
        "answers": int(status["answers"]),
        "reconnects": int(status["reconnects"]),
        "build_ms": _number(status["build_ms"]),
        "expected_delay_ms": _number(status["expected_delay_ms"]),
        **daemon.latencies.status(),
    }


def _guard(daemon: Supervisor) -> dict[str, Any]:
    running = daemon.children.all.get("guard")
    if running is None:
        return {"enabled": False}
    status = running.status
    near = bool(status["nearest"])
    return {
        "enabled": True,
        "checks": int(status["checks"]),
        "check_ms": _number(status["check_ms"]),
        "check_max_ms": _number(status["check_max_ms"]),
        "nearest": layout.text(status["nearest"]) or None,
        "nearest_mm": _number(1e3 * status["nearest_m"], 1) if near else None,
        "bound_mm": _number(1e3 * status["nearest_bound_m"], 1) if near else None,
        "ahead_s": _number(status["nearest_s"]) if near else None,
        "stop_clear": bool(status["stop_clear"]) if status["checks"] else None,
    }


def _recorder(daemon: Supervisor) -> dict[str, Any] | None:
    running = daemon.children.all.get("recorder")
    if running is None:
        return None
    status = running.status
    return {
        "recording": bool(status["recording"]),
        "directory": layout.text(status["directory"]) or None,
        "faults": str(Path(daemon.config.recorder.directory).absolute() / dumps.FOLDER),
        "rows": int(status["rows"]),
        "dropped": int(status["dropped"]),
        "video_frames": int(status["video_frames"]),
    }


def status_of(daemon: Supervisor) -> dict[str, Any]:
    """The whole document; what is not known is None."""
    now_ns = time.monotonic_ns()
    facts = daemon.facts()
    runs = daemon.runs
    refusals = {trigger.value: daemon.refusal(trigger, facts) for trigger in OPERATOR}
    fault = daemon.fault and daemon.fault | {"resettable": not refusals["reset"]}
    section: dict[str, Callable[[], Any]] = {
        "robot": lambda: _robot(daemon, now_ns),
        "processes": lambda: _processes(daemon, now_ns),
        "control": lambda: _control(daemon),
        "motor": lambda: _motor(daemon),
        "inputs": lambda: _inputs(daemon, now_ns),
        "cameras": lambda: _cameras(daemon, now_ns),
        "policy": lambda: _policy(daemon),
        "guard": lambda: _guard(daemon),
        "recorder": lambda: _recorder(daemon),
    }
    return {
        "version": VERSION,
        "pid": os.getpid(),
        "uptime_s": round((now_ns - daemon.started_ns) * 1e-9, 1),
        "config": daemon.config_path,
        "config_fingerprint": fingerprint(daemon.config),
        "state": daemon.machine.state.value,
        "homed": daemon.machine.homed,
        "motion_id": daemon.orders.motion_id,
        "prompt": runs.playing.prompt if runs.playing else None,
        "preparing": runs.preparing.prompt if runs.preparing else None,
        "dry": runs.current is not None and runs.current.options.dry,
        "run": runs.current.described() if runs.current else None,
        "allowed": [name for name, reason in refusals.items() if not reason],
        "refusals": {name: reason for name, reason in refusals.items() if reason},
        "fault": fault,
        **{name: build() for name, build in section.items()},
        "host": daemon.usage.host,
    }
