"""The daemon as a service manager sees it: what it says of itself, and what it makes of a reload."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from harness import daemon, wait_for
from servers import server
from service_rig import ServiceManager

from controller.refused import Refused

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
        for pid in (running.process.pid, *running.children()):
            inet = psutil.Process(pid).net_connections("inet")
            assert not [found for found in inet if found.status == psutil.CONN_LISTEN], "nobody listens on the network"
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


def test_a_reload_gives_the_new_configuration_to_who_reads_it_and_never_touches_the_motors(tmp_path: Path) -> None:
    with server() as url, server() as other, daemon(tmp_path, url) as running:
        running.home()
        before = running.status()["processes"]
        good = running.config.read_text()
        running.config.write_text(good + "nonsense")
        running.process.send_signal(signal.SIGHUP)
        wait_for("refusal", lambda: "all stays as it was" in running.log.read_text())
        running.config.write_text(good.replace(url, other).replace("[daemon]", '[daemon]\nlog_level = "debug"'))
        running.process.send_signal(signal.SIGHUP)
        status = running.until("the other server", lambda status: status["policy"]["url"] == other)
        running.until("it is connected", lambda status: "run" in status["allowed"])
        assert status["homed"], "nothing was lost"
        after = running.status()["processes"]
        assert {name for name in after if after[name]["pid"] != before[name]["pid"]} == {"link", "recorder"}
        assert {row["alive"] for row in after.values()} == {True}
        running.run()
        running.client.command("stop", 10.0)
        answer = running.client.command("reload", 60.0)
        assert answer["changed"] == []
        running.config.write_text(running.config.read_text().replace("lease_s = 0.5", "lease_s = 0.4"))
        with pytest.raises(Refused, match=re.escape("only a restart changes daemon.lease_s: 0.5 -> 0.4")):
            running.client.command("reload", 60.0)
        log = running.log.read_text()
    assert f"reload asked for by SIGHUP: policy.url: '{url}' -> '{other}'" in log
    assert re.search(r"link up again, restart 1, after \d+\.\d s", log)
    assert " is lost" not in log
