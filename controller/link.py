"""The policy link: the process that owns the websocket to the policy server.

It connects, reads what the server wants, and hands the connection to a session; when that ends, for whatever reason, it
connects again, with back-off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from http import HTTPStatus

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from controller import credentials, layout
from controller.child import Child, keep_freed_memory
from controller.credentials import CredentialsError
from controller.faults import FaultCode
from controller.link_memory import LinkMemory
from controller.link_session import Session, Wakes
from controller.server_terms import SessionError
from policy_server.protocol import ProtocolError, ServerInfo, unpack
from shm import Wake

BEAT_S = 0.02
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
MAX_MESSAGE_B = 16 << 20
WARMING = "connected; it has not sent its metadata yet, perhaps it is still warming up"

log = logging.getLogger(__name__)


class Link:
    """The process, from one connection to the next."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.wakes = Wakes()
        self._memory = LinkMemory(child)
        self._connected_once = False

    async def beat(self) -> None:
        """The heartbeat; ends the process's work when it is time."""
        while not self.child.should_end:
            self.child.read_permit()
            self.child.beat(time.monotonic_ns())
            await asyncio.sleep(BEAT_S)

    async def connections(self) -> None:
        """Connect, serve, and connect again with back-off, for ever."""
        failures = 0
        while True:
            try:
                await self._connection()
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidURI, UnicodeError, TimeoutError) as error:
                failures = self._lost(failures, FaultCode.POLICY_LOST, _reason(error))
            except SessionError as error:
                failures = self._lost(failures, error.code, str(error))
            except CredentialsError as error:
                failures = self._lost(failures, FaultCode.POLICY_REFUSED, str(error))
            except ProtocolError as error:
                text = f"the server's metadata cannot be read: {error}"
                failures = self._lost(failures, FaultCode.ANSWER_INVALID, text)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _connection(self) -> None:
        policy, status = self.child.config.policy, self.child.status
        async with connect(
            policy.url,
            compression=None,
            max_size=MAX_MESSAGE_B,
            open_timeout=policy.connect_timeout_s,
            close_timeout=1.0,
            ping_timeout=policy.first_answer_timeout_s,  # a stock server answers no ping while it infers
            proxy=None,
            additional_headers=credentials.headers(policy),
            ssl=credentials.tls(policy),
        ) as socket:
            status["error"] = WARMING.encode()
            async with asyncio.timeout(policy.first_answer_timeout_s):
                first = await socket.recv()
            if isinstance(first, str):
                raise SessionError(FaultCode.POLICY_REFUSED, f"the server says: {first[:160]}")
            info = ServerInfo.from_metadata(unpack(first))
            session = Session(self._memory, self.wakes, socket, info)
            status["server"] = json.dumps(session.described()).encode()
            status["connected"], status["error"] = 1, b""
            status["reconnects"] += self._connected_once
            self._connected_once = True
            log.info("connected to %s at %s, cameras %s", info.server, policy.url, ", ".join(session.cameras))
            try:
                await session.serve()
            finally:
                await socket.close()  # with 1000; leaving by an exception would tell the server of an error

    def _lost(self, failures: int, code: FaultCode, text: str) -> int:
        """Say why there is no connection; a fault if a motion needs it. Returns the failures in a row."""
        status = self.child.status
        was_connected, status["connected"] = bool(status["connected"]), 0
        if was_connected or layout.text(status["error"]) != text[:240]:
            log.warning("no connection to the policy server at %s: %s", self.child.config.policy.url, text)
        status["error"] = text.encode()[:240]
        if motion_id := self._memory.order().motion_id:
            self._memory.trip(code, text, motion_id)
        return 0 if was_connected else failures + 1


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "connecting timed out, or the server is still warming up"
    if isinstance(error, InvalidStatus) and error.response.status_code == HTTPStatus.UNAUTHORIZED:
        return "the server asks for a key: set policy.api_key_file to a file that holds it"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not known here ({error.verify_message}): set policy.tls_ca_file"
    if isinstance(error, InvalidMessage):
        return f"no websocket answer ({error}): does the server speak wss:// where policy.url says ws://?"
    if isinstance(error, ConnectionClosed):
        return f"the connection ended: {error}"
    return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error)


def _woken(wake: Wake, event: asyncio.Event) -> None:
    wake.clear()
    event.set()


async def serve_until_ended(child: Child) -> None:
    link = Link(child)
    loop = asyncio.get_running_loop()
    loop.add_reader(child.board.frame_wake.fileno(), _woken, child.board.frame_wake, link.wakes.framed)
    loop.add_reader(child.board.order_wake.fileno(), _woken, child.board.order_wake, link.wakes.ordered)
    connections = asyncio.create_task(link.connections())
    beat = asyncio.create_task(link.beat())
    done, _ = await asyncio.wait({connections, beat}, return_when=asyncio.FIRST_COMPLETED)
    for task in (connections, beat):
        if task not in done:
            task.cancel()
    for task in done:
        task.result()


def run(child: Child) -> None:
    """Entry of the process."""
    keep_freed_memory()
    asyncio.run(serve_until_ended(child))
