"""openpi's websocket protocol around one policy: metadata first, then one reply to each request.

Runs in the policy server, on one asyncio loop. The loop only moves bytes: decoding, inference and warm-up run in one
worker thread, so handshakes, pings and health checks are answered while a model thinks. Always holds: what a
client sends, and what the policy raises, ends that client's connection at most; what a client can make the server
keep is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from policy_server.endpoints import Endpoints, Phase, Readiness, peer
from policy_server.exchange import Request, answer, ms_since, timed
from policy_server.latency import no_latency
from policy_server.metrics import Metrics
from policy_server.policy import ObservationError, Policy
from policy_server.protocol import DEFAULT_LIMITS, REQUEST_ID, Limits, ProtocolError, pack
from policy_server.queue import Place

T = TypeVar("T")

MAX_CLIENTS = 8
PING_S = 20.0
"""Seconds between pings, and until an unanswered one ends the connection; openpi's clients use the same."""

CLOSE_S = 3.0
"""How long a client has to answer a close, and for its handshake: a stop waits for either."""

DRAIN_S = 10.0
"""How long a server that stops waits for the inference in work and its reply."""

ERROR_REASON = "Internal server error. Traceback included in previous frame."
"""The close reason of openpi's server, word for word; the frame before it holds the error."""

_MAX_ERROR_TEXT = 500
_MAX_UNSENT_BYTES = 16 * 1024 * 1024

log = logging.getLogger(__name__)


class _Stopping(Exception):
    """The server stops: this client's conversation ends."""


class _Connection(ServerConnection):
    """Cut off when the peer makes it write (pongs to its pings) and does not read."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self.transport.abort()


class PolicyServer:
    """Serves one policy to up to `max_clients` websocket clients.

    latency: called once per request; the answer leaves at least that many seconds after the request arrived.
    send_tracebacks: clients get the whole traceback of an error, as openpi's do, in place of one line.
    api_key: what clients must show; None lets everyone in.
    say: told of each step of the warm-up, in the worker thread.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        latency: Callable[[], float] = no_latency,
        send_tracebacks: bool = False,
        max_clients: int = MAX_CLIENTS,
        limits: Limits = DEFAULT_LIMITS,
        api_key: str | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._policy = policy
        self._say = say
        self._latency = latency
        self._send_tracebacks = send_tracebacks
        self._max_clients = max_clients
        self._limits = limits
        self._clients: dict[asyncio.Task[Any], Place[Request]] = {}
        self._turn = asyncio.Lock()
        self._warming: asyncio.Future[None] | None = None
        self._stopping = False
        self._metrics = Metrics(lambda: len(self._clients), lambda: bool(self._readiness()))
        self._endpoints = Endpoints(self._metrics, self._readiness, api_key)
        self.has_key = api_key is not None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._last: Future[None] | None = None
        self._busy_since_ns: int | None = None
        self.info = replace(
            policy.info,
            server=f"pi0-controller {version('pi0-controller')}",
            extensions=policy.info.extensions | {REQUEST_ID},
        )

    @asynccontextmanager
    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        """Listen and begin to warm up. Leaving ends the inference in work first, then every connection with 1001."""
        async with serve(
            self._serve_client,
            host,
            port,
            ssl=tls,
            compression=None,  # deflate costs 30 ms for four pictures
            create_connection=_Connection,
            process_request=self._endpoints.answer,
            max_size=self._limits.max_bytes,
            max_queue=1,  # messages are taken at once; what waits, waits in the client's place
            ping_interval=PING_S,
            ping_timeout=PING_S,
            open_timeout=CLOSE_S,
            close_timeout=CLOSE_S,
        ) as listener:
            self._warming = asyncio.create_task(self._warm_up())
            try:
                yield listener
            finally:
                await self._drain()

    async def _warm_up(self) -> None:
        began_ns = time.monotonic_ns()
        await self._in_worker(lambda: self._policy.warm_up(self._warming_up))
        log.info("event=warm took_s=%.1f", ms_since(began_ns) / 1e3)

    def _warming_up(self, text: str) -> None:
        log.info("event=warming text=%r", text)
        self._say(text)

    async def warm(self) -> None:
        """Wait until the server is warm. Raises what the policy's warm-up raised. Call inside `listen`."""
        assert self._warming is not None, "not listening"
        await asyncio.shield(self._warming)

    @property
    def is_warm(self) -> bool:
        """Whether the policy has warmed up; before that, clients that connect wait for their metadata."""
        warming = self._warming
        return warming is not None and warming.done() and not warming.cancelled() and warming.exception() is None

    @property
    def doing(self) -> str:
        """What `/readyz` says."""
        return str(self._readiness())

    @property
    def busy_s(self) -> float:
        """How long the worker has been in the call that it is in; 0.0: in none."""
        since_ns = self._busy_since_ns
        return 0.0 if since_ns is None else ms_since(since_ns) / 1e3

    def close(self, patience_s: float = DRAIN_S) -> bool:
        """End the worker thread once the listener is closed. False if after `patience_s` it still is in a call."""
        if self._last is None:
            self._last = self._worker.submit(_nothing)
            self._worker.shutdown(wait=False)
        return bool(wait([self._last], patience_s).done)

    async def _drain(self) -> None:
        """Let the inference in work be answered; what waits is dropped."""
        self._stopping = True
        for place in self._clients.values():
            place.close(_Stopping())
        if self._clients:
            _, hanging = await asyncio.wait(self._clients, timeout=DRAIN_S)
            for task in hanging:
                log.error("event=abandoned reason='its inference or its close took more than %g s'", DRAIN_S)
                task.cancel()
        if self._warming is not None:
            self._warming.cancel()

    def _readiness(self) -> Readiness:
        phase = Phase.STOPPING if self._stopping else Phase.SERVING if self.is_warm else Phase.WARMING
        return Readiness(phase, len(self._clients), self._max_clients)

    # ---- one client --------------------------------------------------------------------------------

    async def _serve_client(self, connection: ServerConnection) -> None:
        address, port = peer(connection)
        client = f"{address}:{port}"
        if len(self._clients) >= self._max_clients:
            self._metrics.refused("full")
            log.warning("client=%s event=refused reason='all %d places are taken'", client, self._max_clients)
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"all {self._max_clients} places are taken")
            return
        task, place = asyncio.current_task(), Place[Request](self._turn)
        assert task is not None  # we are in one
        if self._stopping:
            place.close(_Stopping())
        self._clients[task] = place
        log.info("client=%s event=connected clients=%d", client, len(self._clients))
        reader = asyncio.create_task(self._read(connection, place))
        try:
            with self._metrics.client(address):
                await self._converse(connection, place, address)
        except (_Stopping, asyncio.CancelledError):  # cancelled by a drain that has waited long enough
            await connection.close(CloseCode.GOING_AWAY)
        except ConnectionClosed as closed:
            log.info("client=%s event=disconnected close=%r", client, str(closed))
        except Exception as error:  # the top of one client's task: the other clients go on
            await self._report(connection, client, error)
        finally:
            reader.cancel()
            del self._clients[task]

    async def _read(self, connection: ServerConnection, place: Place[Request]) -> None:
        """Take messages as they come, so that the newest waits and a client that leaves is noticed."""
        try:
            while True:
                message = await connection.recv()
                self._metrics.requests.inc()
                if place.put(Request(message, time.monotonic_ns())):
                    self._metrics.superseded.inc()
        except ConnectionClosed as closed:
            place.close(closed.with_traceback(None))  # whoever does not ask for it keeps no frames either
        except Exception as error:  # whatever it is, the conversation must learn of it
            place.close(error)

    async def _converse(self, connection: ServerConnection, place: Place[Request], address: str) -> None:
        assert self._warming is not None  # begun before any connection is served
        await asyncio.wait((self._warming, place.closed), return_when=asyncio.FIRST_COMPLETED)
        if place.closed.done() or not self.is_warm:
            raise place.reason() if place.closed.done() else _Stopping
        await connection.send(pack(self.info.to_metadata()))
        session = await self._in_worker(self._policy.new_session)
        timing: dict[str, float] = {}
        while True:
            waiting_ns = time.monotonic_ns()
            async with place.serve() as request:
                latency_s = self._latency()
                answered = await self._in_worker(partial(answer, session, request.message, self._limits))
            reply = await timed(answered, request.arrived_ns, latency_s, timing)
            await connection.send(pack(reply))
            self._metrics.answered(address, {**reply["policy_timing"], **reply["server_timing"]})
            timing = {"prev_total_ms": ms_since(waiting_ns)}

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._call, work)

    def _call(self, work: Callable[[], T]) -> T:
        self._busy_since_ns = time.monotonic_ns()
        try:
            return _without_stop_iteration(work)
        finally:
            self._busy_since_ns = None

    async def _report(self, connection: ServerConnection, client: str, error: Exception) -> None:
        """Tell the client what went wrong and hang up, as openpi's server does; keep the traceback here."""
        line = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_ERROR_TEXT]
        kind = _kind(error)
        self._metrics.error(kind)
        log.error("client=%s event=error error=%r", client, line, exc_info=error if kind == "policy" else None)
        text = "".join(traceback.format_exception(error)) if self._send_tracebacks else line
        try:
            await connection.send(text.encode(errors="backslashreplace"), text=True)
            await connection.close(CloseCode.INTERNAL_ERROR, ERROR_REASON)
        except ConnectionClosed:
            log.info("client=%s event=disconnected close='before the error was sent'", client)


def _kind(error: Exception) -> str:
    if isinstance(error, ProtocolError):
        return "protocol"
    return "observation" if isinstance(error, ObservationError) else "policy"


def _nothing() -> None:
    """The worker's last job: once it is done, so are all others."""


def _without_stop_iteration(work: Callable[[], T]) -> T:
    """Call `work`. A StopIteration cannot pass through a future: whoever awaits it would wait for ever."""
    try:
        return work()
    except StopIteration as error:
        raise RuntimeError("policy raised StopIteration") from error
