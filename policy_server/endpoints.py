"""Plain HTTP beside the websocket: health, readiness, metrics, and who is refused before the handshake.

Runs in the policy server, on its event loop. Always holds: health and readiness are open to everyone, the rest asks
for the key when there is one; no web page gets a websocket.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from policy_server.access import is_loopback, shows_key
from policy_server.metrics import Metrics

log = logging.getLogger(__name__)


class Phase(Enum):
    """Where a server is in its life."""

    WARMING = "warming up"
    SERVING = "serving"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether another client would be served at once."""

    phase: Phase
    n_clients: int
    max_clients: int

    def __bool__(self) -> bool:
        return self.phase is Phase.SERVING and self.n_clients < self.max_clients

    def __str__(self) -> str:
        if self.phase is not Phase.SERVING:
            return str(self.phase.value)
        return f"{self.n_clients} of {self.max_clients} clients connected"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The server's answers to plain requests. api_key: None lets everyone in."""

    metrics: Metrics
    readiness: Callable[[], Readiness]
    api_key: str | None

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer or refusal; None lets the websocket handshake go on (a plain GET then gets 426)."""
        path = request.path.partition("?")[0]
        if path in ("/healthz", "/health"):
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path == "/readyz":
            ready = self.readiness()
            return connection.respond(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, f"{ready}\n")
        admitted = self.api_key is None or shows_key(request.headers, self.api_key)
        if path == "/metrics" and (admitted or is_loopback(peer(connection)[0])):
            return _with_header(
                connection.respond(HTTPStatus.OK, self.metrics.text().decode()), "Content-Type", CONTENT_TYPE_LATEST
            )
        if "Origin" in request.headers:  # a browser's, which takes any page to any port of the machine it runs on
            self.metrics.refused("origin")
            log.warning("client=%s:%d event=refused reason='a web page'", *peer(connection))
            return connection.respond(HTTPStatus.FORBIDDEN, "not for web pages; send no header Origin\n")
        if not admitted:
            self.metrics.refused("unauthorized")
            log.warning("client=%s:%d event=refused reason='no API key, or a wrong one'", *peer(connection))
            response = connection.respond(HTTPStatus.UNAUTHORIZED, "send the header Authorization: Api-Key <key>\n")
            return _with_header(response, "WWW-Authenticate", "Api-Key")
        if self.readiness().phase is Phase.STOPPING:
            self.metrics.refused("stopping")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "stopping\n")
        return None


def peer(connection: ServerConnection) -> tuple[str, int]:
    """A client's IP address, without an IPv6 zone, and its port."""
    host, port, *_ = connection.remote_address
    return host.partition("%")[0], port


def _with_header(response: Response, name: str, value: str) -> Response:
    response.headers.pop(name, None)  # setting one adds to what is there
    response.headers[name] = value
    return response
