"""A real systemd in a container: this machine's own system under a layer in memory, which is gone with it.

Needs root, systemd-nspawn and overlayfs. The mounts live in a mount namespace of the container's own, so however a test
run ends, nothing of them stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tap import wait_for

from controller.demo.processes import ENDS_WITH_PARENT

ROOT = Path(__file__).parent.parent.parent
BOOT_S = 120.0
COMMAND_S = 240.0
"""Watchdogs."""

REBOOT_ASKED = 133
"""systemd-nspawn's exit code (--keep-unit)."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_all.timer", "fstrim.timer")

PREPARE = """\
set -eu
mount -t tmpfs -o mode=755,size=4g layer "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" container "$1/root"
: > "$1/root/etc/machine-id"
# what else this machine starts is no part of it
rm -rf "$1"/root/etc/systemd/system/*.wants
for unit in $2; do ln -sf /dev/null "$1/root/etc/systemd/system/$unit"; done
shift 2
exec "$@"
"""


def why_impossible() -> str:
    """Why no container can be booted here; empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    needed = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "ss": "iproute2", "ps": "procps"}
    for program, package in needed.items():
        if shutil.which(program) is None:
            return f"needs {program}: apt-get install {package}"
    if not Path("/lib/systemd/systemd").exists():
        return "this machine's system has no systemd to boot: apt-get install systemd"
    if ROOT.is_relative_to("/tmp"):
        return f"a container has a /tmp of its own, without {ROOT}; clone elsewhere"
    with tempfile.TemporaryDirectory() as scratch:
        probe = ["unshare", "--mount", "sh", "-c", PREPARE, "sh", scratch, "", "true"]
        ended = subprocess.run(probe, capture_output=True, text=True)
    return f"cannot lay a container over this machine's files: {ended.stderr.strip()}" if ended.returncode else ""


class Container:
    """`boot` to `end`. Commands run as its root, with this machine's network only where they ask for it."""

    def __init__(self, scratch: Path, *shared: Path) -> None:
        """shared: directories that are this machine's own in there, not layered."""
        self._scratch, self._shared = scratch, shared
        self._console = scratch.parent / "console.log"
        self._layer: subprocess.Popen[str] | None = None  # holds the mounts
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        """The pid, seen from here, of the container's first process."""

    def boot(self) -> None:
        """Lay it over this machine's files, start it and wait until it is up."""
        unshare = ["unshare", "--mount", "--propagation=private", "sh", "-c", PREPARE, "sh", str(self._scratch)]
        holding = ["sh", "-c", "echo ready; exec sleep infinity"]
        self._layer = subprocess.Popen(
            [*ENDS_WITH_PARENT, *unshare, " ".join(MASKED), *holding], stdout=subprocess.PIPE, text=True
        )
        assert self._layer.stdout is not None
        with self._layer.stdout as said:
            assert said.readline() == "ready\n"
        self._start()

    def _start(self) -> None:
        assert self._layer is not None
        nspawn = [
            "systemd-nspawn",
            f"--directory={self._scratch / 'root'}",
            f"--machine=pi0-test-{os.getpid()}",
            *("--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--link-journal=no"),
            "--capability=CAP_IPC_LOCK",  # a host that may not raise limits passes rights on by capabilities
            *(f"--bind={directory}" for directory in self._shared),
        ]
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                [*ENDS_WITH_PARENT, "nsenter", f"--mount=/proc/{self._layer.pid}/ns/mnt", "--", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},  # also where the host has the old one
            )
        self._wait_until_up()

    def _wait_until_up(self) -> None:
        self.leader = wait_for("the container's first process", self._find_leader, BOOT_S)
        wait_for("boot", lambda: self._system_state() in ("running", "degraded"), BOOT_S)

    def _system_state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def _find_leader(self) -> int:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the container ended:\n{self._console.read_text()[-2000:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in children:
            with contextlib.suppress(OSError):  # it was one of the preparation, and is gone
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    return int(pid)
        return 0

    def run(
        self, *command: str, check: bool = True, network: bool = False, text: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command to its end. network: this machine's. text: its standard input."""
        spaces = ("--mount", "--pid", "--ipc", "--uts", "--cgroup", *(() if network else ("--net",)))
        enter = ["nsenter", f"--target={self.leader}", *spaces, "--root", "--wd"]
        # its way to the packages is said by variables, too
        keep = dict(os.environ) if network else {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        ended = subprocess.run(
            [*enter, "env", "-i", *(f"{k}={v}" for k, v in (keep | environment).items()), *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        if check and ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended

    def shell(self, script: str, **options: Any) -> str:
        """What a shell script prints."""
        return self.run("bash", "-euc", script, **options).stdout.strip()

    def path(self, inside: str) -> Path:
        """Where a file of the container lies, seen from here."""
        return Path(f"/proc/{self.leader}/root{inside}")

    def written(self) -> set[str]:
        """Every file that was made or changed in there since the boot."""
        assert self._layer is not None
        layer = Path(f"/proc/{self._layer.pid}/root{self._scratch}/upper")
        return {f"/{path.relative_to(layer)}" for path in layer.rglob("*") if path.is_file() or path.is_symlink()}

    def reboot(self) -> None:
        """Boot again, with what was written so far."""
        assert self._process is not None
        self.run("systemctl", "reboot", "--no-block")
        assert self._process.wait(BOOT_S) == REBOOT_ASKED
        self._start()

    def end(self) -> None:
        """Power off; by force if that takes too long. With its last process the mounts are gone."""
        for process in (self._process, self._layer):
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()  # and all of the container with it
                process.wait()
