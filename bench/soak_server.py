"""A real policy server that sways the arms and misbehaves the way a file says: soak_server.py ORDERS [--port N].

ORDERS is a file with one JSON object: `way`, one of WAYS, and `latency_ms`, `jitter_ms` of its answers. It is read
anew when it was replaced. Prints its URL once it listens; ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controller.config import load, shipped
from controller.config_camera import CAMERA_NAMES
from controller.config_robot import both_arms
from policy_server.continuation import continued, read_plain_rest
from policy_server.heap import keep_large_blocks
from policy_server.policy import Observation, ObservationError, Policy, Session
from policy_server.protocol import PLAYBACK, RTC, ServerInfo
from policy_server.server import PolicyServer
from policy_server.tabletop import reach

RATE_HZ, HORIZON, N_JOINTS = 50.0, 50, 14
HOME = both_arms(load(shipped("sim")).robot.homing.pose)
SWAY = np.zeros(N_JOINTS)
SWAY[[0, 3, 7, 10]] = 0.35, 0.3, 0.35, 0.3
PERIOD_S = 2.5
HANG_S = 10.0
"""Longer than the client waits for any answer."""

UNDER_TABLE = HOME.copy()
UNDER_TABLE[:6] = reach("left", np.array((0.0, 0.12, -0.03)), 1.2, 0.0)

Matrix = np.ndarray[Any, Any]


def sway(played_s: float) -> Matrix:
    """Both arms to and fro by the policy's own time, so that successive chunks agree: about 0.9 rad/s at most."""
    t_s = played_s + np.arange(HORIZON) / RATE_HZ
    chunk: Matrix = HOME + SWAY * np.sin(2 * np.pi * t_s / PERIOD_S)[:, None]
    return chunk


class Orders:
    """What the file says at each question; read again when it is another file, so that a question costs nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[tuple[int, int], dict[str, Any]] | None = None
        self._random = np.random.default_rng()

    def read(self) -> dict[str, Any]:
        stat = self._path.stat()
        which = stat.st_ino, stat.st_mtime_ns
        if self._read is None or self._read[0] != which:
            self._read = which, json.loads(self._path.read_text(encoding="utf-8"))
        return self._read[1]

    def latency_s(self) -> float:
        orders = self.read()
        return float(orders["latency_ms"] + orders["jitter_ms"] * self._random.uniform(-1.0, 1.0)) * 1e-3


class Sway(Session):
    """One client's chunks."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._random = np.random.default_rng()
        self._last = sway(0.0)
        self._begun_s = time.monotonic()

    def infer(self, observation: Observation) -> dict[str, Any]:
        way: str = self._orders.read()["way"]
        self._last = WAYS[way](self, observation)
        return {"actions": self._last}

    def fine(self, observation: Observation) -> Matrix:
        chunk = sway(float(observation.get(PLAYBACK, time.monotonic() - self._begun_s)))  # stock clients do not tell
        rest = read_plain_rest(observation, HORIZON, N_JOINTS)
        return chunk if rest is None else continued(chunk, *rest)

    def jumpy(self, _observation: Observation) -> Matrix:
        """Each chunk another motion, each begun somewhere else."""
        t_s = np.arange(HORIZON) / RATE_HZ
        phase = self._random.uniform(0.0, 2.0 * np.pi, N_JOINTS)
        size: Matrix = SWAY * self._random.uniform(-1.0, 1.0, N_JOINTS)
        chunk: Matrix = HOME + size * np.sin(2 * np.pi * t_s[:, None] / PERIOD_S + phase)
        return chunk

    def into_the_table(self, observation: Observation) -> Matrix:
        start = np.asarray(observation["state"], dtype=float)
        chunk: Matrix = start + np.linspace(0.0, 1.0, HORIZON)[:, None] * (UNDER_TABLE - start)
        return chunk

    def slow(self, observation: Observation) -> Matrix:
        """No answer until the orders change, or for too long."""
        end_s = time.monotonic() + HANG_S
        while time.monotonic() < end_s and self._orders.read()["way"] == "slow":
            time.sleep(0.02)
        return self.fine(observation)

    def stuck(self, _observation: Observation) -> Matrix:
        return self._last

    def error(self, _observation: Observation) -> Matrix:
        raise ObservationError("'prompt' is refused, as ordered; send another")

    def crash(self, _observation: Observation) -> Matrix:
        raise RuntimeError("crashed, as ordered")


WAYS: dict[str, Callable[[Sway, Observation], Matrix]] = {
    "fine": Sway.fine,
    "jumpy": Sway.jumpy,
    "table": Sway.into_the_table,
    "slow": Sway.slow,
    "stuck": Sway.stuck,
    "error": Sway.error,
    "crash": Sway.crash,
    "nan": lambda session, observation: session.fine(observation) * np.nan,
    "far": lambda session, observation: session.fine(observation) + 3.0,
    "seven": lambda session, observation: session.fine(observation)[:, :7],
}


class SwayPolicy(Policy):
    """Needs no model."""

    def __init__(self, orders: Orders, cameras: Sequence[str] = CAMERA_NAMES) -> None:
        self.info = ServerInfo(
            policy="sway",
            cameras=tuple(cameras),
            image_size=(224, 224),
            action_rate_hz=RATE_HZ,
            action_horizon=HORIZON,
            action_dim=N_JOINTS,
            extensions=frozenset({PLAYBACK, RTC}),
        )
        self._orders = orders

    def new_session(self) -> Sway:
        return Sway(self._orders)


async def serve(orders: Orders, port: int, cameras: Sequence[str]) -> None:
    """Until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    server = PolicyServer(SwayPolicy(orders, cameras), latency=orders.latency_s)
    async with server.listen("127.0.0.1", port) as listener:
        print(f"ws://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}", flush=True)
        await ended.wait()
    server.close(patience_s=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("orders", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--cameras", nargs="+", choices=CAMERA_NAMES, default=CAMERA_NAMES)
    arguments = parser.parse_args()
    keep_large_blocks()  # as `pi0-policy-server serve` does
    asyncio.run(serve(Orders(arguments.orders), arguments.port, arguments.cameras))


if __name__ == "__main__":
    main()
