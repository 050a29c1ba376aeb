"""What a service says to systemd: the notification protocol (sd_notify(3)).

The same file stands in controller and in policy_server, which run on two machines and import nothing of each other but
the wire format; a test holds both equal. Always holds: nothing here waits; where no manager listens nothing is said.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping


class Manager:
    """The service manager that started this process, as far as it asked to be told."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Takes the variables out of `environ`: a child that inherited them would speak for its parent."""
        path = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us, watched_pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address: str | None = "\0" + path[1:] if path.startswith("@") else path or None
        meant = watched_pid in ("", str(os.getpid()))
        self.watchdog_s = int(watchdog_us) * 1e-6 if watchdog_us and meant else None
        """It ends this process when WATCHDOG=1 does not come for so long; None: it does not watch."""

    @property
    def listens(self) -> bool:
        return self._address is not None

    def tell(self, *assignments: str) -> bool:
        """Send assignments such as READY=1 in one datagram. False if they could not be delivered; then try again."""
        if self._address is None:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as speaker:
                speaker.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return False
        return True


def one_line(text: str) -> str:
    """`text` as the value of an assignment, which ends with the line."""
    return " ".join(text.split())
