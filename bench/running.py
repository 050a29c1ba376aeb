"""The system as it runs, for a benchmark: the real daemon and the real policy server, over a real websocket.

The shipped simulation, its cameras replaced by moving test patterns of full size and rate, so that no rendering counts;
guard and recorder are on (no video). The policy sways both arms; how long it takes is told to the server at any time.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.soak_stack import Daemon, Server, Tap, write_configuration
from controller.config_camera import CAMERA_NAMES
from controller.recording import Rows

CAMERA = "width = 640\nheight = 480\nrate_hz = 30\nmax_age_s = 2.0"
"""Its frames may be late: a machine that others use, too, may stand still for half a second."""

NORMAL = "[realtime]\nsupervisor_priority = 0\ncontrol_priority = 0\nmotor_priority = 0\n"
SCHEDULINGS = {"fifo": "", "normal": NORMAL}
"""As shipped, and without real-time priorities."""

SETTLE_S = 1.0
"""After the policy's time has changed: requests under way were sent before."""


def configuration(directory: Path, url: str, scheduling: str, cameras: Sequence[str]) -> Path:
    """The daemon's."""
    left_out = [camera for camera in CAMERA_NAMES if camera not in cameras]
    return write_configuration(directory, url, CAMERA, SCHEDULINGS[scheduling], left_out)


@contextmanager
def running(scheduling: str = "fifo", cameras: tuple[str, ...] = CAMERA_NAMES) -> Iterator[tuple[Daemon, Server]]:
    """Both, gone afterwards. The server wants the cameras that there are."""
    with tempfile.TemporaryDirectory(prefix="pi0-bench-") as name:
        directory = Path(name)
        server = Server(directory, cameras)
        try:
            daemon = Daemon(directory, configuration(directory, server.url, scheduling, cameras))
            try:
                yield daemon, server
            finally:
                daemon.program.remove()
        finally:
            server.program.remove()


def home(daemon: Daemon) -> None:
    """Until a run may begin. Raises TimeoutError, with the daemon's fault."""
    daemon.allowed("home")
    daemon.client.command("home", 10.0)
    daemon.until("homed", lambda status: status["homed"] and status["state"] == "idle")
    daemon.allowed("run")


def begin_run(daemon: Daemon) -> None:
    """Home, and follow the policy until somebody stops it. Raises likewise."""
    home(daemon)
    daemon.client.command("run", 10.0, prompt="sway")
    daemon.until("the policy followed", lambda status: status["control"]["phase"] == "follow")


def watched(daemon: Daemon, tap: Tap, seconds: float) -> Rows:
    """The tap's records of so many seconds from now. Raises RuntimeError if the run did not go on."""
    tap.forget()
    before = len(tap.rows())
    time.sleep(seconds)
    rows = tap.rows()[before:]
    status = daemon.client.status(5.0)
    if status["state"] != "running":
        raise RuntimeError(f"the run ended in {status['state']}: {status['fault']}; was the machine busy?")
    if tap.dropped:
        raise RuntimeError(f"{tap.dropped} records were overwritten before this program came to read them")
    return rows


def cpu_s(pids: Sequence[int]) -> float:
    """Processor time that these processes have used; those that are gone count nothing."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
