"""Owners and what they leave behind: dead ones' segments go, everything else in /dev/shm stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import AnyStr

import pytest

from shm import Owner, sweep
from shm.owner import is_alive, owner_of
from shm.segment import SHM_DIR


@pytest.fixture
def shm_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("shm.stale.SHM_DIR", tmp_path)
    return tmp_path


@contextmanager
def killed(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """The process, which does not outlive the block."""
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with killed(subprocess.Popen(["sleep", "600"])) as process:
        yield process


def start_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_current_is_this_process_with_a_new_uid_each_time() -> None:
    first, second = Owner.current(), Owner.current()
    assert (first.pid, first.start_ticks) == (os.getpid(), start_ticks(os.getpid()))
    assert (second.pid, second.start_ticks) == (first.pid, first.start_ticks)
    assert first.uid != second.uid
    assert 0 <= first.uid < 2**64


def test_segment_names_round_trip() -> None:
    assert owner_of(Owner(12, 345, 6).segment("frames.cam_high")) == (12, 345)


FOREIGN = [
    "psm_1a2b3c",
    "pi0c",
    "pi0c.12",
    "pi0c.12.34",
    "pi0c.12.34.",
    "pi0c.x.34.ring",
    "pi0c.12.y.ring",
    "pi0c.0.34.ring",
    "pi0c.-1.34.ring",
    "pi0c.12.34.ri ng",
    "xpi0c.12.34.ring",
    "pi0cx.12.34.ring",
    "PI0C.12.34.ring",
    "pi0c.12.34.ring\n",
    "pi0c.\u0661.34.ring",  # a digit, but not an ASCII one
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_name_that_is_not_ours_has_no_owner(name: str) -> None:
    assert owner_of(name) is None


def test_a_process_is_told_from_a_later_one_with_its_pid() -> None:
    me = Owner.current()
    assert is_alive(me.pid, me.start_ticks)
    assert not is_alive(me.pid, me.start_ticks + 1)


def test_a_command_with_brackets_and_blanks_is_parsed(tmp_path: Path) -> None:
    odd = tmp_path / "odd) Z (1 2"
    odd.symlink_to("/bin/sleep")
    with killed(subprocess.Popen([odd, "600"])) as process:
        while Path(f"/proc/{process.pid}/comm").read_text() != "odd) Z (1 2\n":
            pass  # between fork and exec
        assert is_alive(process.pid, start_ticks(process.pid))


def test_a_killed_owner_is_dead_before_and_after_it_is_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(sleeper.pid)
    assert is_alive(sleeper.pid, ticks)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(sleeper.pid, ticks)
    sleeper.wait()
    assert not is_alive(sleeper.pid, ticks)


def test_sweep_takes_what_dead_owners_left_and_nothing_else(shm_dir: Path, sleeper: subprocess.Popen[bytes]) -> None:
    me, other = Owner.current(), start_ticks(sleeper.pid)
    living = [me.segment("joints"), f"pi0c.{sleeper.pid}.{other}.joints"]
    dead = [
        f"pi0c.{me.pid}.{me.start_ticks + 1}.joints",  # our pid, used before by another
        f"pi0c.{sleeper.pid}.{other - 1}.frames.cam_high",
        "pi0c.4194305.1.joints",  # above the kernel's largest pid
    ]
    for name in [*living, *dead, *FOREIGN]:
        (shm_dir / name).write_bytes(b"x")
    (shm_dir / "pi0c.4194305.1.directory").mkdir()

    assert sweep() == sorted(dead)
    assert {path.name for path in shm_dir.iterdir()} == {*living, *FOREIGN, "pi0c.4194305.1.directory"}
    assert sweep() == []


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_sweep_goes_on_past_what_it_cannot_remove(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    names = [f"pi0c.4194305.1.{ring}" for ring in "abc"]
    for name in names:
        (shm_dir / name).touch()
    really_unlink = Path.unlink

    def unlink(path: Path) -> None:
        if path.name == names[1]:
            raise error(path)
        really_unlink(path)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert sweep() == [names[0], names[2]]


OWNER = """
import signal, sys
from multiprocessing import resource_tracker
import numpy as np
from shm import Owner, Ring, RingSpec
ring = Ring.create(Owner.current(), RingSpec("stale", np.dtype([("x", "u8")]), 4, 1))
tracker = resource_tracker._resource_tracker._pid
print(tracker, ring.handle.segment, flush=True)
signal.pause()
"""


@pytest.fixture
def owner() -> Iterator[tuple[subprocess.Popen[str], int, str]]:
    """A process that owns a ring called `stale`; the process, its tracker's pid, its segment."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a tracker that outlives its process says so here
        text=True,
    )
    with killed(process):
        assert process.stdout is not None
        tracker, segment = process.stdout.readline().split()
        yield process, int(tracker), segment


second_owner = owner


def test_a_daemon_killed_with_its_tracker_leaves_a_segment_that_sweep_removes(
    owner: tuple[subprocess.Popen[str], int, str],
    second_owner: tuple[subprocess.Popen[str], int, str],
) -> None:
    process, tracker, segment = owner
    _, _, living = second_owner
    assert {segment, living} <= set(os.listdir(SHM_DIR))  # two owners at once, the same ring
    assert segment not in sweep()
    os.kill(tracker, signal.SIGKILL)
    process.kill()
    process.wait()
    assert (SHM_DIR / segment).exists()

    removed = sweep()
    assert segment in removed
    assert living not in removed
    assert not (SHM_DIR / segment).exists()
    assert (SHM_DIR / living).exists()
