"""The daemon as a service manager sees it: what it says of itself, and what it makes of a reload."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import daemon, wait_for
from servers import server
from service_rig import ServiceManager

pytestmark = pytest.mark.stack

WATCHDOG_S = 2.0


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    made = ServiceManager(tmp_path, watchdog_s=WATCHDOG_S)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


def test_it_says_ready_once_feeds_the_watchdog_and_says_when_it_ends(tmp_path: Path, service: ServiceManager) -> None:
    heard: list[str] = []

    def has(text: str) -> bool:
        heard.extend(service.told())
        return any(line.startswith(text) for line in heard)

    with server() as url, daemon(tmp_path, url) as running:
        wait_for("READY=1", lambda: has("READY=1"))
        assert running.status()["pid"] == running.process.pid, "whoever is ready answers"
        for pid in running.children():
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()
        wait_for("status", lambda: has("STATUS=idle, not homed; motor 200 Hz, control 50 Hz, "))
        heard.clear()
        time.sleep(WATCHDOG_S)
        has("")
        assert heard.count("WATCHDOG=1") >= 2
        assert "READY=1" not in heard
        running.home()
        wait_for("status", lambda: has("STATUS=idle, homed"))
        assert running.stop() == 0
        assert has("STOPPING=1")
        assert heard.count("STOPPING=1") == 1
        assert "READY=1" not in heard
