"""Where the daemon listens and where operators' tools keep things when nobody says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SYSTEM_DIRECTORY = Path("/run/pi0-controller")
"""Made by systemd (RuntimeDirectory=) for the installed service."""

SOCKET_NAME = "control.sock"

SYSTEM_STATE = Path("/var/lib/pi0-controller")
"""Made by systemd (StateDirectory=) for the installed service."""


def default_socket(
    system_directory: Path = SYSTEM_DIRECTORY, environ: Mapping[str, str] = os.environ, uid: int | None = None
) -> Path:
    """The installed service's socket where that service exists, otherwise one that belongs to this user."""
    if system_directory.is_dir():
        return system_directory / SOCKET_NAME
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute():
        return Path(runtime) / "pi0-controller" / SOCKET_NAME
    return Path(f"/tmp/pi0-controller-{os.getuid() if uid is None else uid}") / SOCKET_NAME


def state_directory(
    system_directory: Path = SYSTEM_STATE, environ: Mapping[str, str] = os.environ, home: Path | None = None
) -> Path:
    """The installed service's where this user may write there, otherwise one that belongs to this user."""
    if os.access(system_directory, os.W_OK | os.X_OK):
        return system_directory
    told = environ.get("XDG_STATE_HOME", "")
    base = Path(told) if Path(told).is_absolute() else (home or Path.home()) / ".local" / "state"
    return base / "pi0-controller"
