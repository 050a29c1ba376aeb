"""Who confirmed which step of a bring-up, when and with which numbers: JSON lines, only ever appended to."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.paths import state_directory
from controller.unix_socket import user_name

FILE = "bring-up.jsonl"
CONFIRMED, REFUSED, FAILED = "confirmed", "refused", "failed"


class HistoryError(RuntimeError):
    """The history cannot be read or written. The message names the file and the next step."""


@dataclass(frozen=True, slots=True)
class Entry:
    """result: confirmed, refused or failed. robot, config, version: what it was said of."""

    step: str
    result: str
    robot: str
    config: str
    version: str
    values: dict[str, Any] = field(default_factory=dict)
    user: str = ""
    time: str = ""


class History:
    """The file of one state directory."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_directory() / FILE

    def add(self, entry: Entry) -> None:
        """Append it, signed with user and time, and keep it before anything else moves. Raises HistoryError."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        signed = asdict(entry) | {"user": user_name(os.getuid()), "time": now}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(signed) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HistoryError(f"{self.path} cannot be written: {error}; name another with --state FILE") from error

    def entries(self) -> list[Entry]:
        """All of them, oldest first. Raises HistoryError."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise HistoryError(f"{self.path} cannot be read: {error}; name another with --state FILE") from error
        try:
            return [Entry(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise HistoryError(f"{self.path} is no history of a bring-up: {error}; move it away") from error


def named(status: dict[str, Any]) -> str:
    """The daemon's configuration: its file, and what was in it where that says how the arms move."""
    return f"{status.get('config')} ({status.get('config_fingerprint')})"


def confirmed(entries: list[Entry], *, robot: str, config: str, version: str) -> set[str]:
    """Steps whose newest word about this robot, configuration and version is a confirmation."""
    newest = {
        entry.step: entry.result
        for entry in entries
        if (entry.robot, entry.config, entry.version) == (robot, config, version)
    }
    return {step for step, result in newest.items() if result == CONFIRMED}
