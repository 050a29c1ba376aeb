"""A supervisor without a robot, for the tests of the operator's side: it obeys, refuses or faults as told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.api import serve
from controller.events import EventBus, Subscription
from controller.jog import Jog
from controller.refused import Refused
from controller.run_options import RunOptions, Seam, playable
from controller.unix_socket import Claim

ARM = (*(f"joint_{i}" for i in range(6)), "left_carriage_joint")
FAULT = {
    "code": "PLAN_ENDED",
    "message": "plan ended 0.24 s after the last chunk, bound 0.20 s",
    "cause": "the last action chunk was used up before a new one came",
    "next_step": "check inference time and network, then reset, home and run",
    "time": "2026-03-04T05:06:07.890+00:00",
    "resettable": True,
    "state_before": "running",
}
RUN = {
    "seam": "blend", "speed": 0.5, "dry": False, "execution_horizon": 0, "seam_asked": "blend", "seam_reason": None,
}  # fmt: skip


def full_status() -> dict[str, Any]:
    """Every field that a running daemon fills."""
    process = {
        "pid": 4242, "alive": True, "beat_age_ms": 4.2, "restarts": 0, "cpu_percent": 12.3, "rss_mb": 81.0,
        "realtime": "fifo 20, memory locked, cpu 3",
    }  # fmt: skip
    names = ["cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"]
    children = ["control", "motor", *(f"camera {name}" for name in names), "link", "guard", "recorder"]
    late = {"p50": 31.0, "p99": 88.0, "p999": 140.0, "max": 912.0}
    times = {"p50": 41.2, "p95": 47.9, "p99": 51.3, "last": 40.8}
    camera = {
        "alive": True, "at_rate": True, "rate_hz": 30, "measured_hz": 29.97, "frame_age_ms": 21.0, "frames": 9000,
        "skipped": 2, "width": 640, "height": 480,
    }  # fmt: skip
    fit = {"alive": True, "at_rate": True, "valid": True, "age_ms": 21.0, "bound_ms": 500.0, "reason": None}
    lower, upper = [-3.0, 0.0, 0.0, -1.5, -1.5, -3.1, 0.0], [3.0, 3.1, 2.3, 1.5, 1.5, 3.1, 0.04]
    seam = {
        "count": 41, "gap_last_mrad": 3.1, "gap_max_mrad": 12.4, "seam_acceleration": 8.1, "inside_acceleration": 9.0,
    }  # fmt: skip
    unused = dict.fromkeys(seam) | {"count": 0}
    q = [-0.5, 1.2, 0.9, 0.2, -0.1, 0.0, 0.02]
    return {
        "version": "0.1.0", "pid": 4200, "uptime_s": 3723.4, "config": "embedded",
        "config_fingerprint": "0123456789ab", "state": "running", "homed": True,
        "motion_id": 7, "prompt": "put the lighter into the cup", "preparing": None, "allowed": ["stop"],
        "dry": False, "run": RUN,
        "refusals": {"home": "home is not possible in state running"}, "fault": None,
        "robot": {
            "kind": "simulated", "joint_names": [f"{side}_{joint}" for side in ("left", "right") for joint in ARM],
            "q": q * 2, "q_command": [value + 0.01 for value in q] * 2, "qd": [0.1] * 14, "effort": [1.0] * 14,
            "mode": "follow", "contact": "watched", "lower": lower * 2, "upper": upper * 2, "age_ms": 3.1,
            "environment": {"names": ["a"], "values": [0.1], "lighter_in_cup": False},
        },
        "processes": {"supervisor": dict(process), **{name: dict(process) for name in children}},
        "control": {
            "rate_hz": 50, "ticks": 1000, "missed": 1, "lateness_us": dict(late), "stall_ticks": 0, "chunks": 123,
            "late_chunks": 0, "phase": "follow", "plan_left_s": 0.62, "seam": "blend", "speed": 0.5,
            "seams": {"switch": dict(seam), "blend": dict(seam), "ensemble": dict(unused), "rtc": dict(unused)},
        },
        "motor": {
            "rate_hz": 200, "ticks": 4000, "missed": 3, "lateness_us": dict(late), "refused": 0,
            "lease_margin_min_ms": 81.0,
        },
        "inputs": {name: dict(fit) for name in [*names, "joints", "policy"]},
        "cameras": {name: dict(camera) for name in names},
        "policy": {
            "url": "ws://127.0.0.1:8000", "connected": True, "error": None,
            "server": {"server": "pi0 0.1", "policy": "scripted"},
            "requests": 124, "answers": 123, "reconnects": 0, "expected_delay_ms": 112.0, "inference_ms": dict(times),
            "round_trip_ms": dict(times), "end_to_end_ms": dict(times), "observation_age_ms": dict(times),
        },
        "guard": {
            "enabled": True, "checks": 800, "check_ms": 4.1, "check_max_ms": 9.7,
            "nearest": "left finger and right finger", "nearest_mm": 23.4, "bound_mm": 15.0, "ahead_s": 0.31,
            "stop_clear": True,
        },
        "recorder": {
            "recording": True, "directory": "runs/7", "faults": "runs/faults", "rows": 1000, "dropped": 0,
            "video_frames": 3600,
        },
        "host": {"steal_percent": 0.4, "load": 1.25},
    }  # fmt: skip


def nulled(value: Any) -> Any:
    """The same keys with nothing known."""
    return {key: nulled(inner) for key, inner in value.items()} if isinstance(value, dict) else None


class FakeOperations:
    """Operations whose outcome a test sets; `called` holds every command with its argument.

    during_motion: called a little after a motion has begun.
    """

    def __init__(self) -> None:
        self.called: list[tuple[str, Any]] = []
        self.refusal: Refused | TimeoutError | None = None
        self.hang: set[str] = set()
        self.during_motion: Callable[[], None] | None = None
        self.values = full_status() | {"state": "idle", "homed": False, "motion_id": 0, "prompt": None, "run": None}
        self.options = RunOptions()
        self.bus = EventBus()

    async def home(self, speed: float) -> None:
        await self._do("home", speed)
        self._begin("homing")

    async def jog(self, jog: Jog, speed: float) -> None:
        await self._do("jog", (jog.joint, jog.by, speed))
        self._begin("homing")

    async def run(self, prompt: str, options: RunOptions) -> None:
        self.options = options
        await self._do("run", prompt)
        self._play(options)
        self._begin("running")

    async def adjust(self, speed: float | None, seam: Seam | None) -> None:
        await self._do("adjust", (speed, seam))
        options = self.options if speed is None else replace(self.options, speed=speed)
        self._play(options if seam is None else replace(options, seam=seam))

    def usual_options(self) -> RunOptions:
        return RunOptions(Seam.ENSEMBLE, execution_horizon=5)

    async def stop(self) -> None:
        await self._do("stop")
        self.values |= {"state": "idle", "dry": False, "run": None}

    async def estop(self, who: str) -> None:
        await self._do("estop", who)
        self.trip()

    async def reset(self) -> None:
        await self._do("reset")
        self.values |= {"state": "idle", "fault": None}

    async def shutdown(self) -> None:
        await self._do("shutdown")

    async def reload(self, who: str) -> tuple[str, ...]:
        await self._do("reload", who)
        return ("policy.url: 'ws://a' -> 'ws://b'",)

    async def lay_out_scene(self, seed: int) -> None:
        await self._do("scene", seed)

    def status(self) -> dict[str, Any]:
        return self.values

    def events(self) -> Subscription:
        return self.bus.subscribe()

    def trip(self) -> None:
        self.values |= {"state": "fault", "homed": False, "fault": FAULT}

    async def _do(self, name: str, argument: Any = None) -> None:
        self.called.append((name, argument))
        if name in self.hang:
            await asyncio.Event().wait()
        if self.refusal is not None and name not in ("stop", "estop"):
            raise self.refusal
        self.bus.publish("command", name)

    def _play(self, options: RunOptions) -> None:
        """Seam rtc is not to be had from this supervisor's policy server."""
        self.options = options
        played, reason = playable(options, rtc_offered=False)
        run = played.described() | {"seam_asked": options.seam.word, "seam_reason": reason or None}
        self.values |= {"dry": options.dry, "run": run}

    def _begin(self, state: str) -> None:
        self.values |= {"state": state, "motion_id": self.values["motion_id"] + 1}
        if self.during_motion is not None:
            asyncio.get_running_loop().call_later(0.05, self.during_motion)

    def arrive(self) -> None:
        self.values |= {"state": "idle", "homed": True}


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class ServedOperations:
    """FakeOperations behind a real socket, in an event loop and thread of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.operations = FakeOperations()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> ServedOperations:
        self._thread.start()
        self._runner = self._wait(serve(self.operations, Claim(self.path)))
        return self

    def __exit__(self, *_: object) -> None:
        server = self._runner.server
        self._wait(self._runner.cleanup())
        self._wait(server.shutdown(0))  # a connection accepted while the site was closing
        self._wait(_end_tasks())
        self._wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, function: Any, *arguments: Any, **named: Any) -> Any:
        """Run a function in the daemon's loop, as the supervisor would, and wait for it."""

        async def run() -> Any:
            return function(*arguments, **named)

        return self._wait(run())

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


def raw(path: Path, method: str, route: str, body: bytes | None = None) -> tuple[int, dict[str, str], Any]:
    """One request as curl --unix-socket sends it, form content type and all."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        head = f"{method} {route} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        connection.sendall(head.encode() + b"\r\n" + (body or b""))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head_raw, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head_raw.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(content)
