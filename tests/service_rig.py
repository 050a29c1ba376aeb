"""A service manager that only listens: the datagrams that a program sends to NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from pathlib import Path


class ServiceManager:
    """`environ` is what it gives to a service; `told` what it has been told since the last call."""

    def __init__(self, directory: Path, *, abstract: bool = False, watchdog_s: float | None = None) -> None:
        self.path = path = str(directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path if abstract else path)
        self._socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": "@" + path if abstract else path}
        if watchdog_s is not None:
            self.environ["WATCHDOG_USEC"] = str(round(1e6 * watchdog_s))

    def told(self) -> list[str]:
        """One entry per datagram."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()
