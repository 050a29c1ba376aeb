"""Looks at every area at once, each in a thread of its own, and says what was found there.

What a running daemon owns, cameras, arms and its own rights, is told by its status; everything else is looked at here.
Nothing moves: arms are braked or not touched, and the policy server is asked to infer only where that was wanted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from controller import adapters, usb_topology
from controller.cameras import inspect as camera
from controller.config import Config
from controller.doctor import daemon, machine, machine_facts, network, network_facts, server, server_facts
from controller.doctor.report import Section
from controller.findings import Finding, Level
from controller.robots import factory
from controller.robots.base import Vector
from controller.summary import Status, look_up

CHILDREN = ("pi0-controller: motor", "pi0-controller: control")
"""As they call themselves in ps. A daemon whose arms do not answer starts its motor process again and again: that one
alone may be missed."""

CAMERA_S = 5.0
DEVICES = ("realsense", "v4l2", "lerobot")
"""Kinds of camera that one process alone can have."""
DAEMON_STEP = "start it when all here is well: systemctl start pi0-controller"

Look = Callable[[], list[Finding]]


def examine(config: Config, status: Status | None, *, infer: bool) -> list[Section]:
    """status: of the daemon that runs, None without one. infer: ask the policy server for a few answers."""
    real = config.robot.kind != "sim"
    looks: dict[str, list[Look]] = {
        "daemon": [lambda: _daemon(status, real)],
        "machine": [lambda: _machine(config, status, real), lambda: _disk(config, status)],
        "network": [lambda: network.judge(network_facts.route(config.policy.url), server_facts.request_b(config))],
        "policy server": [lambda: _server(config, status, infer)],
        "cameras": [lambda: _usb(config), *_cameras(config, status)],
        "arms": [lambda: _arms(config, status)],
    }
    if status is None:
        looks["machine"].append(lambda: _rights(config, real))
    with ThreadPoolExecutor(sum(map(len, looks.values()))) as pool:
        under_way = {name: [pool.submit(_looked, look) for look in area] for name, area in looks.items()}
        return [
            Section(name, [finding for look in area for finding in look.result()]) for name, area in under_way.items()
        ]


def _looked(look: Look) -> list[Finding]:
    try:
        return look()
    except Exception as error:  # whatever one area suffers, the others are told
        text = f"could not be looked at: {str(error) or type(error).__name__}"
        return [Finding(Level.FAIL, "doctor", text, "see docs/inference-pc.md for what it looks at, and look yourself")]


def _daemon(status: Status | None, real: bool) -> list[Finding]:
    if status is None:
        return [Finding(Level.OK, "state", f"none runs: cameras and arms are looked at directly; {DAEMON_STEP}")]
    return daemon.daemon(status, real=real)


def _machine(config: Config, status: Status | None, real: bool) -> list[Finding]:
    pinned = tuple(cpu for cpu in (config.realtime.control_cpu, config.realtime.motor_cpu) if cpu is not None)
    facts = machine_facts.machine(config, (status or {}).get("pid"))
    return machine.judge(facts, real=real, pinned=pinned)


def _rights(config: Config, real: bool) -> list[Finding]:
    rights = machine_facts.rights(config.realtime)
    return machine.judge_rights(rights, real=real, required=config.realtime.required)


def _disk(config: Config, status: Status | None) -> list[Finding]:
    told = look_up(status, "recorder", "faults")
    directory = Path(told).parent if told else Path(config.recorder.directory).absolute()
    if status is None:
        return machine.judge_disk(machine_facts.disk(directory, write=True))
    busy = status.get("state") in ("homing", "running")
    ours = os.access(machine_facts.nearest(directory), os.W_OK)  # else the daemon's, which is another user
    return machine.judge_disk(machine_facts.disk(directory, write=ours and not busy))


def _server(config: Config, status: Status | None, infer: bool) -> list[Finding]:
    q = _pose(status)
    return server.judge(server_facts.ask(config, q, infer=infer), config, q)


def _pose(status: Status | None) -> Vector | None:
    """Where the arms are, as the daemon measures it."""
    told = look_up(status, "robot", "q")
    q = np.array(told if told is not None else (), dtype=np.float64)
    return q if q.size and np.isfinite(q).all() else None


def _usb(config: Config) -> list[Finding]:
    mbit_each = max((usb_topology.sent_mbit(one) for one in config.cameras.values()), default=0.0)
    return usb_topology.findings(mbit_each) if mbit_each > 0.0 else []


def _cameras(config: Config, status: Status | None) -> list[Look]:
    if status is not None:
        return [lambda: daemon.cameras(status)]
    if any(one.kind in DEVICES for one in config.cameras.values()) and _held():
        return [_held]
    return [
        (lambda name=name, one=one: camera.inspect(name, one, CAMERA_S))  # type: ignore[misc]
        for name, one in config.cameras.items()
    ]


def _arms(config: Config, status: Status | None) -> list[Finding]:
    if status is not None:
        return daemon.arms(status)
    if lacking := adapters.lacking(config):
        return [Finding(Level.FAIL, "adapters", lacking, "install what is missing, or change the configuration")]
    if config.robot.kind == "sim":
        return [Finding(Level.OK, "arms", "simulated: there is nothing to look at")]
    if held := _held():
        return held
    untold = f"robot.kind = {config.robot.kind!r}: the daemon alone can look at it; ask again beside it"
    return factory.inspect(config) or [Finding(Level.OK, "arms", untold)]


def _held() -> list[Finding]:
    """A daemon that was not asked has the arms and cameras: hands off."""
    step = "name its socket with --socket, or stop it"
    for found in psutil.process_iter(["cmdline"]):
        if (found.info["cmdline"] or [""])[0].startswith(CHILDREN):
            text = f"another one runs, with pid {found.pid} in it: its devices are not touched"
            return [Finding(Level.FAIL, "daemon", text, step)]
    return []


def timed(config: Config, status: Status | None, *, infer: bool) -> tuple[list[Section], float]:
    """What was found, and how long it took."""
    begin_s = time.monotonic()
    return examine(config, status, infer=infer), time.monotonic() - begin_s
