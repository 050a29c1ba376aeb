"""Where the daemon listens when nobody says otherwise; the daemon and pi0ctl must agree on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

SYSTEM_DIRECTORY = Path("/run/pi0-controller")
"""Made by systemd (RuntimeDirectory=) for the installed service."""

SOCKET_NAME = "control.sock"


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
