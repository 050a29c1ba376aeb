"""The daemon and the policy server that a soak plays with, everything it sees of them, and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controller.board import specs
from controller.client import Client, DaemonUnreachable
from controller.config import Config, load, shipped
from controller.config_camera import CAMERA_NAMES
from controller.demo.processes import ENDS_WITH_PARENT
from controller.recording import Rows
from shm.reader import Reader

SHM = Path("/dev/shm")
LEASE_S, COMMAND_S = 0.5, 0.3
"""Longer than shipped: a virtual machine may stand still for a tenth of a second, and the soak is not about that."""

SMALL = "width = 64\nheight = 48"

WAIT_S = 40.0
"""Watchdog of the waits."""

END_S, GONE_S = 20.0, 3.0
DRAIN_S = 0.05


def wait_for(what: str, test: Callable[[], Any], timeout_s: float = WAIT_S) -> Any:
    """Poll until `test` gives something true. Raises TimeoutError."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if value := test():
            return value
        time.sleep(0.02)
    raise TimeoutError(f"not within {timeout_s:g} s: {what}")


def write_configuration(
    directory: Path, url: str, camera: str = SMALL, more: str = "", left_out: Sequence[str] = ()
) -> Path:
    """The shipped simulation with test-pattern cameras, small ones unless `camera` says otherwise.

    more: further sections. left_out: cameras that it has not got.
    """
    text = shipped("sim").read_text(encoding="utf-8")
    for name in left_out:
        text = text.replace(f'[cameras.{name}]\nkind = "sim"\n', "")
    wanted = [name for name in CAMERA_NAMES if name not in left_out]
    text = text.replace("[policy]\n", f"[policy]\ncameras = {json.dumps(wanted)}\n")
    text = re.sub(r'(\[cameras\.\w+\]\n)kind = "sim"', rf'\1kind = "pattern"\n{camera}', text)
    text = text.replace("ws://127.0.0.1:8000", url).replace('"runs/recordings"', json.dumps(str(directory / "rec")))
    text = text.replace("[recorder]", "[recorder]\nvideo_rate_hz = 0")
    text = text.replace("blend_s = 0.1", f"blend_s = 0.1\ncommand_s = {COMMAND_S}")
    path = directory / "controller.toml"
    path.write_text(f"{text}[daemon]\nlease_s = {LEASE_S}\n{more}", encoding="utf-8")
    return path


class Program:
    """A child process in a session of its own."""

    def __init__(self, command: list[str], log: Path, *, piped: bool = False) -> None:
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*ENDS_WITH_PARENT, sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def end(self) -> int | None:
        """Have it end in order; its exit status, None if it does not."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(END_S)
        return None

    def remove(self) -> None:
        """End what is left of it by force, its children too."""
        if self.process.poll() is None:
            self.end()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Server:
    """The policy server: its orders, and its end and beginning. cameras: what it wants, all of them if it is empty."""

    def __init__(self, directory: Path, cameras: Sequence[str] = ()) -> None:
        self._orders, self._log, self._cameras = directory / "orders.json", directory / "server.log", cameras
        self.order("fine", 0.0, 0.0)
        self.program, self.url = self._started(0)

    def order(self, way: str, latency_ms: float, jitter_ms: float) -> None:
        """How it behaves from its next request on."""
        text = json.dumps({"way": way, "latency_ms": latency_ms, "jitter_ms": jitter_ms})
        unfinished = self._orders.with_suffix(".part")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self._orders)

    def start_again(self) -> None:
        self.program, _ = self._started(int(self.url.rsplit(":", 1)[1]))

    def _started(self, port: int) -> tuple[Program, str]:
        command = ["-m", "bench.soak_server", str(self._orders), "--port", str(port)]
        command += ["--cameras", *self._cameras] * bool(self._cameras)
        program = Program(command, self._log, piped=True)
        assert program.process.stdout is not None
        line = program.process.stdout.readline().decode().strip()
        if not line:
            raise RuntimeError(f"the policy server did not start; see {self._log}")
        return program, line


class Daemon:
    """The controller daemon, as its operator sees it."""

    def __init__(self, directory: Path, path: Path) -> None:
        """path: of its configuration."""
        self.config: Config = load(path)
        self._room = tempfile.TemporaryDirectory(prefix="pi0-soak-")  # a socket's path must be short
        self.log, self.socket = directory / "daemon.log", Path(self._room.name) / "s" / "c.sock"
        self._command = ["-m", "controller", "--config", str(path), "--socket", str(self.socket)]
        self.client = Client(self.socket)
        self.start()

    def start(self) -> None:
        """A daemon; the one before it, if there was one, is gone."""
        self.started_s = time.monotonic()
        self.program = Program(self._command, self.log)

    def until(self, what: str, test: Callable[[dict[str, Any]], Any], timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Poll the status until `test` holds; the status then. Raises TimeoutError."""
        last: dict[str, Any] = {}

        def look() -> bool:
            with contextlib.suppress(DaemonUnreachable, TimeoutError):
                last.update(self.client.status(5.0))
                return bool(test(last))
            return False

        try:
            wait_for(what, look, timeout_s)
        except TimeoutError as error:
            shown = {key: last.get(key) for key in ("state", "homed", "fault", "refusals")}
            raise TimeoutError(f"{error}; last {shown}") from None
        return last

    def allowed(self, command: str) -> dict[str, Any]:
        return self.until(f"{command} allowed", lambda status: command in status["allowed"])

    def children(self) -> list[int]:
        """Pids of everything in the daemon's process group but the supervisor."""
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                pid = int(stat.parent.name)
                if int(fields[2]) == self.program.pid and pid != self.program.pid and fields[0] != "Z":
                    pids.append(pid)
        return pids

    def leftovers(self) -> list[str]:
        """What its end has left behind, once there has been time to go: processes, shared memory, sockets."""
        with contextlib.suppress(TimeoutError):
            wait_for("nothing left", lambda: not self._left(), GONE_S)
        return self._left()

    def _left(self) -> list[str]:
        left = [f"process {pid}" for pid in self.children()]
        left += [f"/dev/shm/{path.name}" for path in SHM.glob(f"pi0c.{self.program.pid}.*")]
        return left + [f"socket {self.socket.name}"] * self.socket.exists()


class Tap(threading.Thread):
    """Every record of a daemon's ring, of motor ticks unless another is named, read from outside without attaching: a
    plain read-only mapping."""

    def __init__(self, daemon: Daemon, ring: str = "joints") -> None:
        super().__init__(daemon=True)
        path = wait_for(f"{ring} ring", lambda: next(SHM.glob(f"pi0c.{daemon.program.pid}.*.{ring}"), None))
        self.spec = next(spec for spec in specs(daemon.config) if spec.name == ring)
        with path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        self.words = whole.cast("Q")
        starts = [self.spec.record_b(slot) for slot in range(self.spec.slots)]
        self.slots = [whole[start : start + self.spec.dtype.itemsize] for start in starts]
        self._reader = Reader(self)  # type: ignore[arg-type]  # words, slots and spec are all it wants of a segment
        self._record, self._rows = np.zeros((), self.spec.dtype), list[Any]()
        self._lock = threading.Lock()

    def run(self) -> None:
        while True:
            self.drain()
            time.sleep(DRAIN_S)

    def drain(self) -> None:
        with self._lock:
            while self._reader.next(self._record):
                self._rows.append(self._record.copy())

    @property
    def dropped(self) -> int:
        """Ticks that were overwritten unseen."""
        return self._reader.dropped

    def rows(self) -> Rows:
        """All since the last `forget`, as of now."""
        self.drain()
        with self._lock:
            return np.array(self._rows, self.spec.dtype)

    def forget(self) -> None:
        """All but the newest two rows, at which the next episode's join on."""
        with self._lock:
            del self._rows[:-2]

    def speed(self) -> float:
        """The fastest joint's, as commanded by the newest tick (rad/s)."""
        self.drain()
        with self._lock:
            return float(np.abs(self._rows[-1]["qd_command"]).max()) if self._rows else 0.0
