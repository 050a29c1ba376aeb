"""The policy server as systemd runs it: what it says of itself, where its key and its cache are, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server_rig import EchoPolicy, client, command, hosting, until
from service_rig import ServiceManager

from policy_server import serve
from policy_server.__main__ import main
from policy_server.access import AccessError, credential, read_api_key
from policy_server.protocol import pack
from policy_server.service import STUCK_S, Service
from policy_server.systemd import Manager

KEY = "0123456789abcdef"
PATIENCE_S = 30.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path, watchdog_s=10.0)
    yield made
    made.close()


def test_ready_is_said_once_and_only_when_warm(manager: ServiceManager) -> None:
    service = Service(Manager(manager.environ))
    service.step("compiling\nprefix")
    (told,) = manager.told()
    assert re.fullmatch(r"STATUS=starting: compiling prefix\nEXTEND_TIMEOUT_USEC=\d+", told)
    service.look(warm=False, doing="warming up", busy_s=1000.0)
    assert manager.told() == ["WATCHDOG=1"], "a long compilation is no hang"
    service.look(warm=True, doing="0 of 8 clients connected", busy_s=0.0)
    assert manager.told() == ["READY=1", "WATCHDOG=1", "STATUS=serving, 0 of 8 clients connected"]
    service.look(warm=True, doing="0 of 8 clients connected", busy_s=0.0)
    assert manager.told() == ["WATCHDOG=1"]


def test_an_inference_that_does_not_end_leaves_the_watchdog_hungry(manager: ServiceManager) -> None:
    service = Service(Manager(manager.environ))
    service.look(warm=True, doing="serving", busy_s=STUCK_S)
    assert "WATCHDOG=1" in manager.told()
    service.look(warm=True, doing="serving", busy_s=STUCK_S + 1.0)
    assert manager.told() == ["STATUS=STUCK, waiting for the watchdog: an inference takes 61 s"]


def test_the_worker_s_call_is_timed_from_its_own_beginning() -> None:
    policy = EchoPolicy()
    with hosting(policy) as hosted, client(hosted.port) as connection:
        until(lambda: hosted.server.busy_s == 0.0)
        connection.send(pack({"state": [0.0], "order": "wait"}))
        assert policy.busy.wait(PATIENCE_S)
        until(lambda: hosted.server.busy_s > 0.0)
        policy.go_on.set()
        connection.recv(PATIENCE_S)
        until(lambda: hosted.server.busy_s == 0.0)


def test_the_command_tells_its_whole_life(manager: ServiceManager, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in manager.environ.items():
        monkeypatch.setenv(name, value)
    heard: list[str] = []

    def has(text: str) -> bool:
        heard.extend(manager.told())
        return text in heard

    with command("--port", "0") as process:
        until(lambda: has("STATUS=serving, 0 of 8 clients connected"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert has("STOPPING=1\nSTATUS=stopping")
    assert heard.count("READY=1") == 1
    assert "WATCHDOG=1" in heard


def test_what_cannot_be_served_ends_with_78_and_its_reason(manager: ServiceManager, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "policy_server", "serve", "--config", "pi0_base", "--checkpoint", str(tmp_path)]
    command += ["--compile-cache", str(tmp_path / "cache")]
    ended = subprocess.run(command, env=os.environ | manager.environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    told = manager.told()
    assert told[-1].startswith(f"STATUS={tmp_path} ")
    assert told[-1].removeprefix("STATUS=") in " ".join(ended.stderr.split())


def test_systemd_s_cache_directory_comes_before_the_user_s() -> None:
    assert serve.cache_directory({"XDG_CACHE_HOME": "/x"}) == Path("/x/pi0-controller/compiled")
    both = {"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b", "XDG_CACHE_HOME": "/x"}
    assert serve.cache_directory(both) == Path("/var/cache/a/compiled")
    assert serve.cache_directory({}) == Path("~/.cache/pi0-controller/compiled")


def test_the_key_that_systemd_keeps_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credential("api-key", {}) is None
    assert credential("api-key", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    path = tmp_path / "api-key"
    path.write_text(KEY)
    path.chmod(0o440)  # how an access list for the service's user shows
    with pytest.raises(AccessError, match="others may use it"):
        read_api_key(path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credential("api-key") == path
    assert read_api_key(path) == KEY
    path.chmod(0o444)
    with pytest.raises(AccessError, match="others may use it"):
        read_api_key(path)
    path.chmod(0o440)
    seen: list[str | None] = []
    monkeypatch.setattr(serve, "PolicyServer", lambda *_, api_key, **__: seen.append(api_key) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["serve", "--policy", "scripted", "--host", "0.0.0.0"])
    assert seen == [KEY]
