"""What a service says to systemd: the notification protocol (sd_notify(3)), and its log in the journal's own protocol.

The same file stands in controller and in policy_server, which run on two machines and import nothing of each other but
the wire format; a test holds both equal. Always holds: nothing here waits; where no manager listens nothing is said.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

JOURNAL = Path("/run/systemd/journal/socket")
"""Not there in a sandbox that hides it; then stderr is the way."""

PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


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


def in_journal() -> bool:
    """Whether stderr is a pipe into the journal."""
    if "JOURNAL_STREAM" not in os.environ:
        return False
    from logging_journald import check_journal_stream

    return bool(check_journal_stream())


class Journal(logging.Handler):
    """One entry per record, whatever its lines, with the fields that it was given.

    A call's own fields are those of `extra={"fields": {"state": "idle"}}`; that one is found as PI0_STATE. An entry
    that the journal does not take at once is lost, and the next one that it takes says how many were.
    """

    def __init__(self, identifier: str, path: str | None = None, **fields: object) -> None:
        """identifier: what journalctl shows before the message. fields: of every entry."""
        from logging_journald import JournaldTransport

        super().__init__()
        self._transport = JournaldTransport(path, connected=False)  # and so survives a restart of the journal
        self._transport.socket.setblocking(False)
        self._fields = [("SYSLOG_IDENTIFIER", identifier), *_own(fields)]
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                self._transport.send([*self._fields, ("PRIORITY", 4), ("MESSAGE", f"{self._lost} entries were lost")])
                self._lost = 0
            self._transport.send(self._entry(record))
        except OSError:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._transport.socket.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> list[tuple[str, object]]:
        return [
            *self._fields,
            ("PRIORITY", PRIORITY.get(record.levelno, 6)),
            ("MESSAGE", self.format(record)),
            ("CODE_FILE", record.pathname),
            ("CODE_LINE", record.lineno),
            ("CODE_FUNC", record.funcName),
            *_own(getattr(record, "fields", {})),
        ]


def _own(fields: dict[str, object]) -> list[tuple[str, object]]:
    return [(f"PI0_{name.upper()}", str(value)) for name, value in fields.items()]
