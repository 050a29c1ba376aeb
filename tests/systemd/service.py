"""The installed service, as its administrator and its operators see it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from container import ROOT, Container
from tap import Tap, wait_for

UNIT, SERVER = "pi0-controller.service", "pi0-policy-server.service"
CONFIG = Path("/etc/pi0-controller/controller.toml")
OPERATOR, OUTSIDER = "operator-anna", "outsider-eve"
LEASE_S = 0.5
START_S = 120.0
"""Watchdog: a loaded machine may be slow."""

GRANT = """
[Service]
AmbientCapabilities=CAP_SYS_NICE CAP_IPC_LOCK
CapabilityBoundingSet=CAP_SYS_NICE CAP_IPC_LOCK
"""
"""Stands for LimitRTPRIO= and LimitMEMLOCK= on a machine that may not raise its own limits (no CAP_SYS_RESOURCE)."""


class Service:
    """pi0-controller.service, and pi0-policy-server.service beside it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.run, self.shell = container.run, container.shell
        self._as_installed = ""

    # ---- as an administrator ---------------------------------------------------------------------------

    def install(self) -> None:
        """`make install`, then two people, one of them an operator."""
        self.make("install")
        self._as_installed = self.container.path(str(CONFIG)).read_text()
        self.shell(f"useradd -G pi0 {OPERATOR}; useradd {OUTSIDER}")
        if not self.limits_can_be_raised():
            self.drop_in(GRANT)

    def make(self, target: str, *, check: bool = True, **environment: str) -> str:
        """`make TARGET` at the source tree, by root; what it says. Before and after, the tree is out of sight."""
        self.shell(f"! mountpoint --quiet {ROOT} || umount {ROOT}")
        ended = self.run("make", "-C", str(ROOT), target, check=check, network=True, **environment)
        self.hide_source()
        assert check or ended.returncode, f"make {target} should have failed"
        return ended.stdout + ended.stderr

    def hide_source(self) -> None:
        """An installation must do without it."""
        self.shell(f"mountpoint --quiet {ROOT} || mount -t tmpfs hidden {ROOT}")

    def limits_can_be_raised(self) -> bool:
        return self.shell("systemd-run --quiet --pipe --wait -p LimitRTPRIO=40 bash -c 'ulimit -r'") == "40"

    def drop_in(self, text: str, unit: str = UNIT) -> None:
        """Change the unit as `systemctl edit` would."""
        directory = f"/etc/systemd/system/{unit}.d"
        self.shell(f"mkdir -p {directory}; cat > {directory}/test.conf; systemctl daemon-reload", text=text)

    def configure(self, **changes: str) -> None:
        """The installed configuration with small test-pattern cameras; `changes` are textual, old=new."""
        text = re.sub(
            r'(\[cameras\.\w+\]\n)kind = "sim"', r'\1kind = "pattern"\nwidth = 64\nheight = 48', self._as_installed
        )
        text = text.replace("[recorder]", "[recorder]\nvideo_rate_hz = 0")
        # a test machine may stand still for a tenth of a second; that is not what these tests are about
        text = text.replace("blend_s = 0.1", "blend_s = 0.1\ncommand_s = 0.3") + f"[daemon]\nlease_s = {LEASE_S}\n"
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        self.write_config(text)

    def write_config(self, text: str) -> None:
        self.shell(f"cat > {CONFIG}", text=text)

    def as_installed(self) -> None:
        self.write_config(self._as_installed)

    def start(self) -> None:
        self.run("systemctl", "start", UNIT, SERVER)

    def stop(self) -> None:
        self.run("systemctl", "stop", UNIT, SERVER)
        self.run("systemctl", "reset-failed", UNIT, SERVER, check=False)  # not where they never failed

    def shown(self, name: str, unit: str = UNIT) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).stdout.strip()

    @property
    def main_pid(self) -> int:
        return int(self.shown("MainPID"))

    def signal(self, name: str, pid: int) -> None:
        self.run("kill", f"-{name}", str(pid))

    def until_state(self, active: str, sub: str) -> None:
        wait_for(
            f"{active} ({sub})",
            lambda: (self.shown("ActiveState"), self.shown("SubState")) == (active, sub),
            START_S,
        )

    def journal(self, since: str) -> str:
        """What the service and its manager said since a cursor of `mark`."""
        return self.shell(f"journalctl --sync; journalctl --unit={UNIT} --after-cursor='{since}'")

    def mark(self) -> str:
        """The journal's end."""
        shown = self.shell("journalctl --sync; journalctl --lines=0 --show-cursor")
        return shown.rpartition("cursor: ")[2]

    def leftovers(self) -> list[str]:
        """Processes, shared memory and sockets of a service that is stopped."""
        processes = self.run("ps", "-o", "pid=,args=", "-U", "pi0-controller,pi0-policy-server", check=False).stdout
        files = self.shell("find /dev/shm -name 'pi0c.*'; find /run/pi0-controller -mindepth 1 2>/dev/null || true")
        return processes.split("\n")[:-1] + files.split()

    # ---- as an operator --------------------------------------------------------------------------------

    def pi0ctl(self, *arguments: str, user: str = OPERATOR, check: bool = True) -> str:
        ended = self.run("runuser", "-u", user, "--", "pi0ctl", *arguments, check=check)
        assert check or ended.returncode
        return ended.stdout + ended.stderr

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.pi0ctl("status", "--json"))
        return status

    def until(self, what: str, test: Callable[[dict[str, Any]], Any], *options: str) -> dict[str, Any]:
        """The status, as soon as it is so. options: of pi0ctl."""
        last: dict[str, Any] = {}

        def look() -> bool:
            shown = self.run("pi0ctl", *options, "status", "--json", check=False)
            last.update(json.loads(shown.stdout) if shown.returncode == 0 else {})
            return bool(last and test(last))

        wait_for(what, look, START_S)
        return last

    def until_beating(self, *options: str) -> dict[str, Any]:
        return self.until("beating", lambda status: all(p["alive"] for p in status["processes"].values()), *options)

    def running_fast(self) -> Tap:
        """Start it, home and run until the arms are at speed."""
        self.start()
        tap = self.tap()
        self.until("home allowed", lambda status: "home" in status["allowed"])
        self.pi0ctl("home")
        self.until("run allowed", lambda status: "run" in status["allowed"])
        self.pi0ctl("run", "--prompt", "put the lighter into the cup")
        tap.until_moving()
        return tap

    def tap(self) -> Tap:
        return Tap(self.main_pid, self.container.path("/dev/shm"))
