"""Who owns the socket: its permissions, its lock, and what a daemon that was killed leaves behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_operations import ServedOperations, raw

from controller.paths import default_socket
from controller.unix_socket import Claim, SocketError, SocketInUse


@pytest.fixture
def daemon(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedOperations]:
    monkeypatch.setattr("controller.api.SHUTDOWN_TIMEOUT_S", 0.1)
    with ServedOperations(directory / "run" / "control.sock") as served:
        yield served


def test_socket_and_directory_are_closed_to_others(daemon: ServedOperations) -> None:
    assert stat.S_IMODE(daemon.path.parent.stat().st_mode) == 0o750
    assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o660
    lock = daemon.path.with_name("control.sock.lock")
    assert stat.S_IMODE(lock.stat().st_mode) & 0o037 == 0


def test_socket_and_lock_vanish_with_the_daemon(directory: Path) -> None:
    with ServedOperations(directory / "c.sock"):
        assert sorted(os.listdir(directory)) == ["c.sock", "c.sock.lock"]
    assert os.listdir(directory) == []


def test_second_daemon_is_refused_and_harms_nothing(daemon: ServedOperations) -> None:
    with pytest.raises(SocketInUse, match=rf"in use by the daemon with pid {os.getpid()}") as caught:
        Claim(daemon.path)
    assert caught.value.pid == os.getpid()
    assert raw(daemon.path, "GET", "/status")[0] == 200


def test_daemon_without_its_lock_file_is_still_found(daemon: ServedOperations) -> None:
    daemon.path.with_name("control.sock.lock").unlink()
    with pytest.raises(SocketInUse) as caught:
        Claim(daemon.path, group=None, mode=0o660)
    assert caught.value.pid == os.getpid()
    assert raw(daemon.path, "GET", "/status")[0] == 200


def test_killed_daemon_leaves_nothing_that_stops_the_next(directory: Path) -> None:
    path = directory / "c.sock"
    code = (
        "import os, signal, sys; from pathlib import Path; from controller.unix_socket import Claim\n"
        "Claim(Path(sys.argv[1]), group=None, mode=0o660).listener.listen(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=20)
    assert sorted(os.listdir(directory)) == ["c.sock", "c.sock.lock"]
    with ServedOperations(path):
        assert raw(path, "GET", "/status")[0] == 200
        assert path.with_name("c.sock.lock").read_text() == f"{os.getpid()}\n"


def test_lock_removed_while_waiting_for_it_is_not_taken_for_ours(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "c.sock"
    lock = directory / "c.sock.lock"
    opened = []
    real_open = os.open

    def open_then_lose_it(*arguments: Any) -> int:
        descriptor = real_open(*arguments)
        opened.append(descriptor)
        if len(opened) == 1:
            lock.unlink()  # what the daemon before us does at its end
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose_it)
    claim = Claim(path, group=None, mode=0o660)
    assert len(opened) == 2
    assert lock.read_text() == f"{os.getpid()}\n"
    claim.release()


def test_what_is_not_a_socket_is_left_alone(directory: Path) -> None:
    path = directory / "c.sock"
    path.write_text("precious")
    with pytest.raises(SocketError, match="not a socket; it was left alone"):
        Claim(path, group=None, mode=0o660)
    assert path.read_text() == "precious"
    assert os.listdir(directory) == ["c.sock"]


def test_symbolic_link_is_not_followed(directory: Path) -> None:
    (directory / "c.sock.lock").symlink_to(directory / "elsewhere")
    with pytest.raises(SocketError, match="cannot open the socket"):
        Claim(directory / "c.sock", group=None, mode=0o660)
    assert not (directory / "elsewhere").exists()


def test_unusable_places_are_named(directory: Path) -> None:
    with pytest.raises(SocketError, match="at most 107"):
        Claim(directory / ("x" * 120), group=None, mode=0o660)
    with pytest.raises(SocketError, match="group 'no-such-group' does not exist"):
        Claim(directory / "c.sock", group="no-such-group", mode=0o660)
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)
    with pytest.raises(SocketError, match="written by everybody"):
        Claim(directory / "open" / "c.sock", group=None, mode=0o660)
    (directory / "file").touch()
    with pytest.raises(SocketError, match="cannot open the socket"):
        Claim(directory / "file" / "c.sock", group=None, mode=0o660)


def test_default_socket_follows_the_installed_service(directory: Path) -> None:
    absent = directory / "absent"
    assert default_socket(directory, {}, 5) == directory / "control.sock"
    assert default_socket(absent, {"XDG_RUNTIME_DIR": "/run/user/5"}, 5) == Path(
        "/run/user/5/pi0-controller/control.sock"
    )
    for environ in ({}, {"XDG_RUNTIME_DIR": ""}, {"XDG_RUNTIME_DIR": "relative"}):
        assert default_socket(absent, environ, 5) == Path("/tmp/pi0-controller-5/control.sock")
