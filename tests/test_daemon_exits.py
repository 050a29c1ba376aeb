"""How a daemon ends that cannot start: its code, one readable reason, and the same in the service manager's status."""

import asyncio
import os
import subprocess
import sys

import pytest
from service_rig import ServiceManager
from supervisor_rig import Rig

from controller.config import shipped
from controller.exits import DaemonExit
from controller.realtime import RealtimeRefused
from controller.unix_socket import Claim


@pytest.fixture
def service(tmp_path):
    made = ServiceManager(tmp_path)
    yield made
    made.close()


def start(service, path, socket):
    """Exit code, stderr and the last status of a daemon that ends by itself."""
    command = [sys.executable, "-m", "controller", "--config", str(path), "--socket", str(socket)]
    ended = subprocess.run(command, env=os.environ | service.environ, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stderr, service.told()[-1]


def configured(tmp_path, old="", new=""):
    path = tmp_path / "controller.toml"
    text = shipped("sim").read_text()
    assert old in text
    path.write_text(text.replace(old, new) if old else text + new)
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate_hz = 50\n", "rate_hz = fifty\n", "not valid TOML"),
        ("", '[daemon]\ngroup = "no-such-group"\n', "group 'no-such-group' does not exist"),
    ],
)
def test_what_somebody_must_change_first_is_78(tmp_path, service, old, new, said):
    code, stderr, status = start(service, configured(tmp_path, old, new), tmp_path / "s" / "c.sock")
    assert code == 78
    assert said in stderr.splitlines()[-1]
    assert status.startswith("STATUS=")
    assert said in status


def test_a_missing_file_is_78(tmp_path, service):
    path = tmp_path / "none.toml"
    code, stderr, status = start(service, path, tmp_path / "s" / "c.sock")
    assert code == 78
    assert stderr == f"{path}: cannot be read: [Errno 2] No such file or directory: '{path}'\n"
    assert status == f"STATUS={stderr.strip()}"


def test_what_may_pass_is_1(tmp_path, service):
    claim = Claim(tmp_path / "s" / "c.sock")
    code, stderr, status = start(service, configured(tmp_path), claim.path)
    claim.release()
    assert code == 1
    assert f"in use by the daemon with pid {os.getpid()}" in stderr
    assert "in use" in status


def test_a_child_without_a_right_that_is_required_ends_the_daemon_with_78():
    rig = Rig()
    rig.end("motor")
    rig.process("motor").exitcode = DaemonExit.RIGHTS
    with pytest.raises(RealtimeRefused, match=r"motor: realtime\.required is set"):  # which main makes 78 of
        asyncio.run(rig.supervisor._renew())  # noqa: SLF001
    rig.close()
