"""Policy servers for the stack tests: one that sways the arms, and some that misbehave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from controller.config import load, shipped
from controller.config_robot import both_arms
from policy_server.protocol import pack, unpack

HOME = both_arms(load(shipped("sim")).robot.homing.pose)
METADATA: dict[str, Any] = {
    "server": "test",
    "cameras": ["cam_low", "cam_left_wrist"],
    "image_size": [224, 224],
    "action_rate_hz": 50.0,
    "extensions": ["request_id"],
}
SWAY = np.zeros(14)
SWAY[[0, 3, 7, 10]] = 0.35, 0.3, 0.35, 0.3
PERIOD_S = 2.5


def sway(_observation: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Both arms to and fro on the server's own clock, so that successive chunks agree: about 0.9 rad/s at most."""
    t_s = time.monotonic() + np.arange(50) / 50.0
    return HOME + SWAY * np.sin(2 * np.pi * t_s / PERIOD_S)[:, None]


Answer = Callable[[dict[str, Any]], bytes | str]


def answering(actions: Callable[[dict[str, Any]], Any]) -> Answer:
    """A well-formed answer around these actions."""

    def answer(request: dict[str, Any]) -> bytes:
        reply = {"actions": actions(request), "server_timing": {"infer_ms": 20.0}}
        return pack(reply | ({"request_id": request["request_id"]} if "request_id" in request else {}))

    return answer


@contextmanager
def server(
    answer: Answer | None = None, metadata: bytes | None = None, port: int = 0, delay_s: float = 0.02
) -> Iterator[str]:
    """A policy server on loopback; gives its URL."""
    reply = answer or answering(sway)

    def handle(connection: ServerConnection) -> None:
        try:
            connection.send(pack(METADATA) if metadata is None else metadata)
            while True:
                request = unpack(connection.recv())
                assert isinstance(request, dict)
                time.sleep(delay_s)
                connection.send(reply(request))
        except ConnectionClosed:
            pass

    with serve(handle, "127.0.0.1", port, compression=None, max_size=8 << 20) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
        finally:
            listening.shutdown()
            thread.join()
