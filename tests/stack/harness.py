"""A real daemon under test: its processes, its socket, and a look at what it commands, tick by tick."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers import METADATA
from tap import SHM, WAIT_S, Tap, check_smooth, wait_for

from controller.client import Client, DaemonUnreachable
from controller.config import shipped
from controller.demo.processes import ENDS_WITH_PARENT

FAULTS = Path(__file__).parent.parent / "faults"
LEASE_S = 0.5


def brisk(text: str) -> str:
    """The homing move at twice the speed."""
    begin = text.index("[robot.homing]")
    head, homing = text[:begin], text[begin:]
    for name, factor in (("velocity", 2), ("acceleration", 3), ("jerk", 5)):
        line = re.search(rf"^{name} +=.*$", homing, re.MULTILINE)
        assert line is not None
        values = [factor * value for value in json.loads(line[0].partition("=")[2])]
        homing = homing.replace(line[0], f"{name} = {values}", 1)
    return head + homing


def configuration(directory: Path, url: str, *, guard: bool = False, hurried: bool = True, **changes: str) -> Path:
    """The shipped simulation with two small test-pattern cameras, a brisk homing move unless not hurried, and the
    collision guard where it is what a test is about: a daemon is up and home twice as soon. `changes` are textual,
    old=new."""
    text = shipped("sim").read_text()
    text = re.sub(r'\[cameras\.(cam_high|cam_right_wrist)\]\nkind = "sim"\n', "", text)
    text = text.replace("[policy]", f"[policy]\ncameras = {json.dumps(METADATA['cameras'])}")
    text = text if guard else text.replace("enabled = true ", "enabled = false")
    text = re.sub(r'(\[cameras\.\w+\]\n)kind = "sim"', r'\1kind = "pattern"\nwidth = 64\nheight = 48', text)
    text = text.replace("ws://127.0.0.1:8000", url).replace('"runs/recordings"', f'"{directory / "rec"}"')
    text = text.replace("[recorder]", "[recorder]\nvideo_rate_hz = 0")
    # a test machine may stand still for a tenth of a second; that is not what these tests are about
    text = text.replace("blend_s = 0.1", "blend_s = 0.1\ncommand_s = 0.3") + f"[daemon]\nlease_s = {LEASE_S}\n"
    text = brisk(text) if hurried else text
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path = directory / "controller.toml"
    path.write_text(text)
    return path


@dataclass
class Daemon:
    """A `pi0-controller` in a process group of its own."""

    config: Path
    socket: Path
    log: Path
    program: tuple[str, ...] = (sys.executable, "-m", "controller")
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> Daemon:
        command = [*self.program, "--config", str(self.config), "--socket", str(self.socket)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ENDS_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.config.parent,
            )
        return self

    @property
    def client(self) -> Client:
        return Client(self.socket)

    def status(self) -> dict[str, Any]:
        return self.client.status(5.0)

    def until(self, what: str, test: Callable[[dict[str, Any]], Any], timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Poll the status until `test` holds; the status then."""
        last: dict[str, Any] = {}

        def look() -> bool:
            with contextlib.suppress(DaemonUnreachable, TimeoutError):
                last.update(self.status())
                return bool(test(last))
            return False

        try:
            wait_for(what, look, timeout_s)
        except TimeoutError as error:
            shown = {key: last.get(key) for key in ("state", "homed", "fault", "refusals", "policy")}
            raise TimeoutError(f"{error}; last {shown}; log:\n{self.log.read_text()[-3000:]}") from None
        return last

    def ready(self) -> Daemon:
        self.until("home allowed", lambda status: "home" in status["allowed"])
        return self

    def home(self) -> None:
        self.until("home allowed", lambda status: "home" in status["allowed"])
        self.client.command("home", 10.0)
        self.until("homed", lambda status: status["homed"] and status["state"] == "idle")

    def run(self, prompt: str = "test", **options: Any) -> None:
        self.until("run allowed", lambda status: "run" in status["allowed"])
        self.client.command("run", 60.0, prompt=prompt, **options)

    def moving(self, tap: Tap) -> None:
        """Wait until the arms follow the policy at speed."""
        tap.until_moving()

    def pid_of(self, process: str) -> int:
        return int(self.status()["processes"][process]["pid"])

    def children(self) -> list[int]:
        """Pids of everything in the daemon's process group but the supervisor."""
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = stat.read_text()
                group = int(text.rsplit(")", 1)[1].split()[2])
                state = text.rsplit(")", 1)[1].split()[0]
                if group == self.process.pid and int(stat.parent.name) != self.process.pid and state != "Z":
                    pids.append(int(stat.parent.name))
        return pids

    def stop(self) -> int:
        """Orderly end; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)


def leftovers(pid: int) -> list[str]:
    """Shared memory of a daemon."""
    return sorted(path.name for path in SHM.glob(f"pi0c.{pid}.*"))


@contextlib.contextmanager
def daemon(
    directory: Path,
    url: str,
    program: tuple[str, ...] | None = None,
    *,
    guard: bool = False,
    hurried: bool = True,
    **changes: str,
) -> Iterator[Daemon]:
    """A daemon that is ended, however the test ends; program: what to start in place of it."""
    path = configuration(directory, url, guard=guard, hurried=hurried, **changes)
    running = Daemon(path, directory / "s" / "c.sock", directory / "daemon.log")
    running.program = program or running.program
    running.start()
    try:
        yield running.ready()
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGCONT)
            running.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(15)
        running.kill_group()
        for name in leftovers(running.process.pid):
            (SHM / name).unlink(missing_ok=True)


def running_fast(running: Daemon) -> Tap:
    """Home and run until the arms are at speed."""
    tap = Tap(running.process.pid)
    running.home()
    running.run()
    running.moving(tap)
    return tap


def works_again(running: Daemon) -> None:
    """reset, home, run, stop."""
    running.until("reset allowed", lambda status: "reset" in status["allowed"])
    running.client.command("reset", 10.0)
    running.until("home allowed", lambda status: "home" in status["allowed"])
    running.home()
    tap = Tap(running.process.pid)
    running.run()
    running.moving(tap)
    running.client.command("stop", 10.0)
    check_smooth(tap.drain())


@contextlib.contextmanager
def program(path: Path, *arguments: str) -> Iterator[str]:
    """A program of tests/faults that runs beside the daemon; gives the first line it prints."""
    command = [*ENDS_WITH_PARENT, sys.executable, str(path), *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip()
        finally:
            running.kill()
