"""Who may use the operator's socket: members of its group and root, for every command; nobody else for any."""

from __future__ import annotations

import grp
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.client import Client, NotAllowed
from controller.unix_socket import Claim

GROUP = grp.getgrall()[1]
STRANGER_UID = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")


@pytest.fixture
def socket() -> Iterator[Path]:
    """Of a daemon with daemon.group, where everybody gets as far as its directory."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    claim = Claim(place / "run" / "control.sock", group=GROUP.gr_name)
    claim.listener.listen()
    yield claim.path
    claim.release()
    shutil.rmtree(place)


def as_a_stranger(groups: list[int], act: Callable[[], None]) -> str:
    """What `act` raises, in a process of a user with these groups; empty: nothing."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; this one holds no lock of theirs
        pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(STRANGER_UID)
            os.setuid(STRANGER_UID)
            act()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, encoding="utf-8") as text:
        return text.read()


@pytest.mark.parametrize("ask", [lambda c: c.status(0.2), lambda c: c.command("estop", 0.2)], ids=["status", "estop"])
def test_a_stranger_is_refused_and_told_how_to_become_a_member(socket: Path, ask: Callable[[Client], None]) -> None:
    assert as_a_stranger([], lambda: ask(Client(socket))) == (
        f"{NotAllowed.__name__}: you may not use {socket}: it is for members of the group {GROUP.gr_name}; "
        f"run: sudo usermod -aG {GROUP.gr_name} $USER, then log in again"
    )


def test_a_member_is_let_in(socket: Path) -> None:
    """Nobody answers here, which is another matter."""
    assert as_a_stranger([GROUP.gr_gid], lambda: Client(socket).status(0.2)).startswith("TimeoutError: no answer")


def test_without_a_group_it_is_its_owner_s_alone() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        claim = Claim(place / "run" / "control.sock")
        error = as_a_stranger([], lambda: Client(claim.path).status(0.2))
        claim.release()
    assert error.endswith("it is root's alone; set daemon.group in the configuration, or use sudo")
