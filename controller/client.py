"""pi0ctl's end of the unix socket: HTTP with the standard library alone, so that a command starts quickly.

Runs in the operator's process. One connection per request: a stop never waits behind another request.
"""

from __future__ import annotations

import grp
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller.refused import Refused

Status = dict[str, Any]


class DaemonUnreachable(Exception):
    """No daemon answers. The message names the socket and the next step."""


class NotAllowed(DaemonUnreachable):
    """There may be a daemon, but this user may not speak to it. The message says how to become one who may."""


class RequestError(Exception):
    """The daemon did not understand the request; the message is its own."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class Client:
    """The daemon behind one socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def status(self, timeout_s: float) -> Status:
        """The daemon's status. Raises DaemonUnreachable, or TimeoutError after `timeout_s`."""
        return self._answer("GET", "/status", None, timeout_s)

    def command(self, name: str, timeout_s: float, **body: Any) -> dict[str, Any]:
        """Carry out one command. Raises also Refused and RequestError."""
        return self._answer("POST", f"/{name}", body, timeout_s)

    def events(self, *, replay: bool) -> Iterator[dict[str, Any]]:
        """Events as they come, without end; with `replay` those that the daemon has kept come first.

        Raises DaemonUnreachable, also when the daemon ends.
        """
        connection = _Connection(self.path, None)
        try:
            response = self._send(connection, "GET", "/events?replay=1" if replay else "/events", None)
            if response.status != 200:
                self._checked(response.status, response.read())
            while (line := response.readline()).endswith(b"\n"):
                yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        raise DaemonUnreachable(f"the daemon at {self.path} closed the stream: it ended or dropped a slow reader")

    def _answer(self, method: str, path: str, body: Any, timeout_s: float) -> dict[str, Any]:
        connection = _Connection(self.path, timeout_s)
        try:
            response = self._send(connection, method, path, body)
            raw = response.read()
        except TimeoutError:
            raise TimeoutError(f"no answer to {method} {path} within {timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        return self._checked(response.status, raw)

    def _send(self, connection: _Connection, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        encoded = None if body is None else json.dumps(body).encode()
        connection.request(method, path, encoded, {"Content-Type": "application/json"} if encoded else {})
        return connection.getresponse()

    def _checked(self, code: int, raw: bytes) -> dict[str, Any]:
        try:
            answer: Any = json.loads(raw)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or code == 500:
            raise DaemonUnreachable(f"the daemon at {self.path} failed with HTTP {code}: its log has the traceback")
        if code == 409:
            raise Refused(answer["reason"], answer["allowed"])
        if code == 504:
            raise TimeoutError(answer["reason"])
        if code != 200:
            raise RequestError(answer["reason"])
        return answer

    def _unreachable(self, error: Exception) -> DaemonUnreachable:
        if isinstance(error, FileNotFoundError | ConnectionRefusedError):
            return DaemonUnreachable(
                f"no daemon at {self.path}: start it (systemctl start pi0-controller, or "
                "pi0-controller --config sim), or name its socket with --socket"
            )
        if isinstance(error, PermissionError):
            return NotAllowed(_how_to_join(self.path))
        return DaemonUnreachable(f"no answer from the daemon at {self.path}: {error}")


def _how_to_join(path: Path) -> str:
    """The directory belongs to the group of the socket, and can be looked at where the socket cannot."""
    text = f"you may not use {path}"
    try:
        gid = path.parent.stat().st_gid
        group = grp.getgrgid(gid).gr_name
    except (OSError, KeyError):
        return f"{text}: ask who started the daemon for its group (daemon.group)"
    if gid == 0:
        return f"{text}: it is root's alone; set daemon.group in the configuration, or use sudo"
    return f"{text}: it is for members of the group {group}; run: sudo usermod -aG {group} $USER, then log in again"
