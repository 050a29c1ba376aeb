"""openpi's websocket protocol around one policy: metadata first, then one reply to each request.

Runs in the policy server, on one asyncio loop. The loop only moves bytes: decoding and inference run in one
worker thread, so handshakes, pings and health checks are answered while a model thinks. Always holds: what a
client sends, and what the policy raises, ends that client's connection at most.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from importlib.metadata import version
from reprlib import repr as brief
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from policy_server.latency import no_latency
from policy_server.policy import ObservationError, Policy, Session
from policy_server.protocol import DEFAULT_LIMITS, REQUEST_ID, Limits, ProtocolError, pack, unpack

T = TypeVar("T")

MAX_CLIENTS = 8
PING_S = 20.0
"""Seconds between pings, and until an unanswered one ends the connection; openpi's clients use the same."""

ERROR_REASON = "Internal server error. Traceback included in previous frame."
"""The close reason of openpi's server, word for word; the frame before it holds the error."""

_MAX_ERROR_TEXT = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the worker thread made of one message, and when (CLOCK_MONOTONIC)."""

    reply: dict[str, Any]
    started_ns: int
    infer_ms: float


class PolicyServer:
    """Serves one policy to up to `max_clients` websocket clients.

    latency: called once per request; the answer leaves at least that many seconds after the request arrived.
    send_tracebacks: clients get the whole traceback of an error, as openpi's do, in place of one line.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        latency: Callable[[], float] = no_latency,
        send_tracebacks: bool = False,
        max_clients: int = MAX_CLIENTS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._policy = policy
        self._latency = latency
        self._send_tracebacks = send_tracebacks
        self._max_clients = max_clients
        self._limits = limits
        self._n_clients = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self.info = replace(
            policy.info,
            server=f"pi0-controller {version('pi0-controller')}",
            extensions=policy.info.extensions | {REQUEST_ID},
        )

    def listen(self, host: str, port: int) -> Server:
        """The listener, an asynchronous context manager: leaving it closes every connection with 1001."""
        return serve(
            self._serve_client,
            host,
            port,
            compression=None,  # deflate costs 30 ms for four pictures
            process_request=self._health,
            max_size=self._limits.max_bytes,
            max_queue=1,  # a client waits for its answer: one message in work, one behind it
            ping_interval=PING_S,
            ping_timeout=PING_S,
        )

    def close(self) -> None:
        """End the worker thread, after the inference it is in. Call once the listener is closed."""
        self._worker.shutdown(cancel_futures=True)

    def _health(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain GET of a health check; anything else goes on to the websocket handshake (or 426)."""
        path = request.path.partition("?")[0]
        if path in ("/healthz", "/health"):
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path == "/readyz":
            status = HTTPStatus.OK if self._n_clients < self._max_clients else HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, f"{self._n_clients} of {self._max_clients} clients connected\n")
        return None

    async def _serve_client(self, connection: ServerConnection) -> None:
        if self._n_clients >= self._max_clients:
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"all {self._max_clients} places are taken")
            return
        self._n_clients += 1
        client = "{}:{}".format(*connection.remote_address)
        log.info("client=%s event=connected clients=%d", client, self._n_clients)
        try:
            await connection.send(pack(self.info.to_metadata()))
            await self._converse(connection)
        except ConnectionClosed as closed:
            log.info("client=%s event=disconnected close=%r", client, str(closed))
        except Exception as error:  # the top of one client's task: the other clients go on
            await self._report(connection, client, error)
        finally:
            self._n_clients -= 1

    async def _converse(self, connection: ServerConnection) -> None:
        session = await self._in_worker(self._policy.new_session)
        timing: dict[str, float] = {}
        while True:
            waiting_ns = time.monotonic_ns()
            message = await connection.recv()
            arrived_ns = time.monotonic_ns()
            reply = await self._reply(session, message, arrived_ns, timing)
            await connection.send(pack(reply))
            timing = {"prev_total_ms": _ms_since(waiting_ns)}

    async def _reply(
        self, session: Session, message: str | bytes, arrived_ns: int, timing: dict[str, float]
    ) -> dict[str, Any]:
        latency_s = self._latency()
        answer = await self._in_worker(lambda: _answer(session, message, self._limits))
        answered_ns = time.monotonic_ns()
        await asyncio.sleep(latency_s - _ms_since(arrived_ns) / 1e3)
        pretended_ms = _ms_since(answered_ns)  # a made latency stands for a model's time
        return {
            "policy_timing": {"infer_ms": answer.infer_ms},
            **answer.reply,
            "server_timing": {
                "infer_ms": answer.infer_ms + pretended_ms,
                **timing,
                "queue_ms": (answer.started_ns - arrived_ns) / 1e6,
                "total_ms": _ms_since(arrived_ns),
            },
        }

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, _without_stop_iteration, work)

    async def _report(self, connection: ServerConnection, client: str, error: Exception) -> None:
        """Tell the client what went wrong and hang up, as openpi's server does; keep the traceback here."""
        line = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_ERROR_TEXT]
        bad_request = isinstance(error, ObservationError | ProtocolError)
        log.error("client=%s event=error error=%r", client, line, exc_info=None if bad_request else error)
        text = "".join(traceback.format_exception(error)) if self._send_tracebacks else line
        try:
            await connection.send(text.encode(errors="backslashreplace"), text=True)
            await connection.close(CloseCode.INTERNAL_ERROR, ERROR_REASON)
        except ConnectionClosed:
            log.info("client=%s event=disconnected close='before the error was sent'", client)


def _answer(session: Session, message: str | bytes, limits: Limits) -> _Answer:
    """Decode one message, infer, and echo the request's id. Runs in the worker thread."""
    started_ns = time.monotonic_ns()
    if isinstance(message, str):
        raise ProtocolError("request is a text frame; send one binary frame of msgpack")
    observation = unpack(message, limits)
    if not isinstance(observation, dict):
        raise ProtocolError(f"request is a {type(observation).__name__}, not a map")
    request_id = observation.pop(REQUEST_ID, None)
    if request_id is not None and type(request_id) is not int:
        raise ProtocolError(f"{REQUEST_ID} is {brief(request_id)}, not an integer")
    inferring_ns = time.monotonic_ns()
    reply = session.infer(observation)
    infer_ms = _ms_since(inferring_ns)
    return _Answer(reply if request_id is None else reply | {REQUEST_ID: request_id}, started_ns, infer_ms)


def _without_stop_iteration(work: Callable[[], T]) -> T:
    """Call `work`. A StopIteration cannot pass through a future: whoever awaits it would wait for ever."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("policy raised StopIteration") from error


def _ms_since(t_ns: int) -> float:
    return (time.monotonic_ns() - t_ns) / 1e6
