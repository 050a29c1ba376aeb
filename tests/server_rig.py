"""A policy that does as it is told, the server around it, and clients of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from websockets.sync.client import ClientConnection, connect

from policy_server.policy import ObservationError, Policy, Session
from policy_server.protocol import ServerInfo, pack, unpack
from policy_server.server import PolicyServer

PATIENCE_S = 30.0
"""How long a test waits for something that must come; nothing is asserted about how soon it comes."""

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

STATE = {"state": np.arange(14.0)}


class EchoSession(Session):
    """Counts its own requests; refuses what has no state; does what `order` says."""

    def __init__(self, policy: EchoPolicy) -> None:
        self._policy = policy
        self._n = 0

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        self._policy.seen.append(observation)
        self._policy.threads.add(threading.current_thread().name)
        if observation.get("order") == "wait":
            self._policy.busy.set()
            if not self._policy.go_on.wait(PATIENCE_S):
                raise TimeoutError
        if observation.get("order") == "fail":
            raise RuntimeError("the model\nfell over")
        if observation.get("order") == "exhaust":
            next(iter(()))
        if observation.get("order") == "refuse":
            raise ObservationError(f"cannot {observation['prompt']}")
        if observation.get("order") == "long":
            return {"actions": np.zeros((100_000, 14))}
        if observation.get("order") == "unsendable":
            return {"actions": object()}
        if "state" not in observation:
            raise ObservationError("observation has no 'state'; send 14 floats")
        self._n += 1
        return {"actions": np.tile(np.asarray(observation["state"], np.float64), (50, 1)), "n": self._n}


class EchoPolicy(Policy):
    def __init__(self) -> None:
        self.info = ServerInfo(policy="echo", cameras=("cam_high",), extensions=frozenset({"environment_state"}))
        self.seen: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.warm = threading.Event()
        self.warm.set()

    def warm_up(self, say: Callable[[str], None]) -> None:
        say("compiling")
        if not self.warm.wait(PATIENCE_S):
            raise TimeoutError

    def new_session(self) -> Session:
        return EchoSession(self)


@dataclasses.dataclass
class Hosted:
    """A server in a thread of its own, with an event loop of its own."""

    port: int
    server: PolicyServer
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    _stop: asyncio.Event

    def stop(self) -> None:
        """Begin to stop, as a signal would."""
        self.loop.call_soon_threadsafe(self._stop.set)

    def tasks(self) -> int:
        """How many tasks the server's loop has."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self.loop).result(PATIENCE_S)


@contextlib.contextmanager
def hosting(policy: Policy, tls: ssl.SSLContext | None = None, **options: Any) -> Iterator[Hosted]:
    """Run a PolicyServer until the context ends."""
    listening: Future[tuple[int, PolicyServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        server = PolicyServer(policy, **options)
        async with server.listen("127.0.0.1", 0, tls) as listener:
            port = listener.sockets[0].getsockname()[1]
            listening.set_result((port, server, asyncio.get_running_loop(), stop))
            await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    port, server, loop, stop = listening.result(PATIENCE_S)
    hosted = Hosted(port, server, loop, thread, stop)
    try:
        yield hosted
    finally:
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has ended in between
                hosted.stop()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@contextlib.contextmanager
def serving(policy: Policy, **options: Any) -> Iterator[int]:
    """Run a PolicyServer and give its port."""
    with hosting(policy, **options) as hosted:
        yield hosted.port


@contextlib.contextmanager
def client(port: int, **options: Any) -> Iterator[ClientConnection]:
    """A plain client that has read the metadata."""
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None, **options) as connection:
        connection.recv(PATIENCE_S)
        yield connection


@contextlib.contextmanager
def stock_client(port: int, api_key: str | None = None, host: str = "127.0.0.1") -> Iterator[WebsocketClientPolicy]:
    """The client that openpi ships."""
    stock = WebsocketClientPolicy(host, port, api_key)
    try:
        yield stock
    finally:
        stock._ws.close()  # noqa: SLF001 - the stock client has no close of its own


@contextlib.contextmanager
def raw_client(port: int) -> Iterator[socket.socket]:
    """A socket after the websocket's handshake, for those who do not keep to the rules."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:  # and not a byte more: the metadata may already be behind it
            come = connection.recv(4096, socket.MSG_PEEK)
            assert come, answer
            end = (answer + come).find(b"\r\n\r\n")
            answer += connection.recv(len(come) if end < 0 else end + 4 - len(answer))
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield connection


def frame(payload: bytes, opcode: int = 2, final: bool = True) -> bytes:
    """A client's frame with the mask 0, which leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        size = struct.pack(">B", 0x80 | length)
    elif length < 2**16:
        size = struct.pack(">BH", 0x80 | 126, length)
    else:
        size = struct.pack(">BQ", 0x80 | 127, length)
    return bytes([(0x80 if final else 0) | opcode]) + size + bytes(4) + payload


def ask(connection: ClientConnection, observation: object) -> dict[str, Any]:
    connection.send(pack(observation))
    reply = connection.recv(PATIENCE_S)
    assert isinstance(reply, bytes), reply
    return unpack(reply)


def get(port: int, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a plain GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def scrape(port: int) -> dict[str, float]:
    """What /metrics says: a number for each name with its labels."""
    status, body = get(port, "/metrics")
    assert status == 200, body
    lines = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def command(*arguments: str, policy: str = "scripted") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "policy_server", "serve", "--policy", policy, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with command("--port", "0", *arguments) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"listening on ws://\S+:(\d+) policy=scripted$", line)
            assert found, line
            yield process, int(found[1])
        finally:
            process.kill()
