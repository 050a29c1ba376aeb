"""The installed service under a real systemd, from its start to its removal.

Its tests share one container and follow one another in this order: the installation that is used is the one that the
last test removes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import numpy as np
import pytest
from container import ROOT, Container
from service import CONFIG, LEASE_S, OPERATOR, OUTSIDER, SERVER, UNIT, Service
from tap import check_smooth, rest_after_ms, wait_for

from controller.board import camera_process
from controller.recording import Recording

pytestmark = pytest.mark.systemd

FAILING_UV = """#!/bin/sh
case $1 in pip) echo "no network" >&2; exit 2;; esac
PATH=${PATH#*:}:.uv/bin exec uv "$@"
"""
"""In the place of the real one, which is in PATH or where scripts/setup puts it."""

CHILDREN = ("motor", "control", "link", "guard", camera_process("cam_low"), "recorder")


@pytest.fixture(autouse=True)
def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What a test measures is for people: print it also when the test passes."""
    yield
    if text := capsys.readouterr().out:
        with capsys.disabled():
            print(f"\n{text.rstrip()}", end="")


def idle_again(service: Service) -> None:
    """After a restart by systemd: nothing moves, and nothing is known of what was before."""
    service.until_state("active", "running")
    status = service.status()
    assert (status["state"], status["homed"], status["fault"]) == ("idle", False, None)
    assert status["robot"]["mode"] in ("hold", "-"), status["robot"]["mode"]


@pytest.mark.parametrize("unit", [UNIT, SERVER])
def test_the_units_are_well_confined(container: Container, unit: str) -> None:
    path = ROOT / "systemd" / unit
    shown = container.run("systemd-analyze", "security", "--offline=true", str(path)).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)
    assert exposure is not None
    print(f"{unit}: exposure {exposure[1]}")
    assert float(exposure[1]) <= 2.0


def test_the_units_are_without_fault(installed: Service) -> None:
    ended = installed.run("systemd-analyze", "verify", "--man=no", UNIT, SERVER)
    assert ended.stdout + ended.stderr == ""


def test_it_starts_as_installed(installed: Service) -> None:
    begin_s = time.monotonic()
    installed.start()
    active_s = time.monotonic() - begin_s
    status = installed.status()
    took_s, cpu_s = time.monotonic() - begin_s, int(installed.shown("CPUUsageNSec")) * 1e-9
    print(
        f"systemctl start with simulated cameras: active after {active_s:.1f} s; "
        f"pi0ctl status had its answer after {took_s:.1f} s; {cpu_s:.1f} s of CPU time"
    )
    assert installed.shown("ActiveState") == "active"
    assert (status["config"], status["state"], status["homed"]) == (str(CONFIG), "idle", False)
    assert status["robot"]["kind"] == "sim"
    installed.stop()
    assert installed.leftovers() == []


def test_an_operator_uses_it(service: Service) -> None:
    begin_s = time.monotonic()
    service.start()
    print(f"systemctl start with test-pattern cameras: answering after {time.monotonic() - begin_s:.1f} s")
    service.until("home allowed", lambda status: "home" in status["allowed"])
    assert "homed" in service.pi0ctl("home")
    service.until("run allowed", lambda status: "run" in status["allowed"])
    assert "stopped after" in service.pi0ctl("run", "--prompt", "put the lighter into the cup", "--for", "2")
    wait_for("the status line", lambda: service.shown("StatusText").startswith("idle, homed"))
    assert "stop: done, state idle" in service.pi0ctl("stop")


def test_the_service_has_its_rights_and_no_more(service: Service) -> None:
    service.start()
    status = service.until_beating()
    for process in ("control", "motor"):
        assert re.fullmatch("mlockall, fifo [0-9]+", status["processes"][process]["realtime"])
    who = service.shell("ps -o user:32=,group:32= -p " + str(service.main_pid))
    assert who.split() == ["pi0-controller", "pi0"]
    listening = service.shell("ss --no-header --listening --tcp --udp --numeric --processes")
    assert "pi0-controller" not in listening, "nothing of the controller listens on the network"


def test_only_members_of_the_group_may_command(service: Service) -> None:
    service.start()
    for command in ("status", "stop", "estop"):
        service.pi0ctl(command, user=OPERATOR)
        said = service.pi0ctl(command, user=OUTSIDER, check=False)
        assert "Permission denied" in said or "group" in said, said


def test_a_stop_in_motion_brakes_before_anything_dies(service: Service) -> None:
    tap = service.running_fast()
    asked_ns = time.monotonic_ns()
    service.run("systemctl", "stop", UNIT)
    rows = tap.drain()
    check_smooth(rows)
    print(f"systemctl stop: at rest after {rest_after_ms(rows, asked_ns):.0f} ms")
    assert service.shown("Result") == "success"
    newest = service.shell("ls -d /var/lib/pi0-controller/recordings/2* | tail -1")
    recorded = np.abs(Recording.load(service.container.path(newest)).joints["qd_command"]).max(axis=1)
    assert recorded.max() > 0.2
    assert recorded[-1] == 0.0, "the recording ends with the arms at rest"


def test_a_killed_supervisor_leaves_the_arms_at_rest_and_everything_starts_anew(service: Service) -> None:
    tap, mark = service.running_fast(), service.mark()
    killed_ns = time.monotonic_ns()
    before = service.main_pid
    service.signal("KILL", before)
    service.until_state("activating", "auto-restart")
    rows = tap.drain()
    check_smooth(rows)
    print(f"SIGKILL of the supervisor: at rest after {rest_after_ms(rows, killed_ns):.0f} ms")
    told = service.journal(mark)
    assert "arms held, robot closed" in told
    assert "resource_tracker" not in told, "what Python makes of it is no entry of ours"
    idle_again(service)
    assert service.main_pid != before


def test_a_hung_supervisor_is_replaced(service: Service) -> None:
    tap, mark = service.running_fast(), service.mark()
    hung_ns = time.monotonic_ns()
    service.signal("STOP", service.main_pid)
    rows = tap.watch(LEASE_S + 1.0)
    print(f"SIGSTOP of the supervisor: at rest after {rest_after_ms(rows, hung_ns):.0f} ms")
    service.until_state("activating", "auto-restart")
    check_smooth(tap.drain())
    told = service.journal(mark)
    assert "Failed with result 'watchdog'" in told
    assert "arms held, robot closed" in told, "the watchdog's signal goes to everybody, and the motor stays"
    idle_again(service)


def test_a_killed_child_is_the_daemons_own_business(service: Service) -> None:
    service.start()
    before = service.until_beating()
    for name in CHILDREN:
        service.signal("KILL", before["processes"][name]["pid"])
    after = service.until(
        "all started again",
        lambda status: all(
            p["alive"] and (name not in CHILDREN or p["pid"] != before["processes"][name]["pid"])
            for name, p in status["processes"].items()
        ),
    )
    assert after["state"] in ("idle", "fault")
    assert after["pid"] == before["pid"]
    assert service.shown("NRestarts") == "0"


def test_a_broken_configuration_fails_once_and_says_why(service: Service) -> None:
    service.configure(**{"rate_hz = 200 ": "rate_hz = -7 "})
    mark = service.mark()
    service.run("systemctl", "start", UNIT, check=False)
    service.until_state("failed", "failed")
    told = service.journal(mark)
    assert f"{CONFIG}: robot.rate_hz = -7: " in told
    assert "status=78" in told
    assert (service.shown("NRestarts"), service.shown("Result")) == ("0", "exit-code")


def test_a_reload_takes_what_idle_allows_and_refuses_the_rest(service: Service) -> None:
    service.start()
    service.until("home allowed", lambda status: "home" in status["allowed"])
    service.pi0ctl("home")
    pid, mark = service.main_pid, service.mark()
    service.configure(**{"[control]": '[control]\nseam = "switch"'})
    service.run("systemctl", "reload", UNIT)
    assert "control.seam: 'blend' -> 'switch'" in service.journal(mark)
    service.configure(**{"rate_hz = 200 ": "rate_hz = -7 "})
    assert service.run("systemctl", "reload", UNIT, check=False).returncode
    assert "robot.rate_hz = -7: " in service.journal(mark)
    service.until_state("active", "running")
    assert service.main_pid == pid
    assert service.status()["homed"], "the arms were held all the while"


def test_an_enabled_service_starts_with_the_machine(service: Service) -> None:
    service.run("systemctl", "enable", UNIT, SERVER)
    service.container.reboot()
    service.hide_source()
    service.until_state("active", "running")
    assert service.status()["state"] == "idle"


def lateness(service: Service, *options: str) -> str:
    """Of ten seconds of a daemon that is up: at rest, as the ticks are the same."""
    service.until_beating(*options)
    time.sleep(10.0)
    status = service.until_beating(*options)
    told = []
    for name in ("control", "motor"):
        late, rights = status[name]["lateness_us"], status["processes"][name]["realtime"]
        told.append(f"{name} p99 {late['p99']:.0f} us, largest {late['max']:.0f} us ({rights})")
    return "; ".join(told)


def test_how_late_ticks_are_in_the_service_and_outside(service: Service) -> None:
    service.start()
    print(f"50 Hz under the service: {lateness(service)}")
    service.run("systemctl", "stop", UNIT)
    alone = ("--socket", "/run/alone/control.sock")
    service.shell(f"systemd-run --quiet --unit=alone pi0-controller --config {CONFIG} {' '.join(alone)}")
    print(f"50 Hz outside of it, as root: {lateness(service, *alone)}")
    service.run("systemctl", "stop", "alone")


def test_an_upgrade_keeps_what_the_administrator_wrote_and_disturbs_nothing_that_runs(service: Service) -> None:
    service.start()
    assert "pi0-controller.service is running" in service.make("install", check=False)
    service.stop()
    before = service.shell("readlink /opt/pi0-controller/current")
    config = service.container.path(str(CONFIG)).read_text()

    # another environment, the packages of which cannot be had
    service.shell("install -D /dev/stdin /tmp/failing/uv", text=FAILING_UV)
    said = service.make("install-server", check=False, PATH="/tmp/failing:" + os.environ["PATH"])
    assert "building" in said
    assert "no network" in said
    assert service.shell("readlink /opt/pi0-controller/current") == before
    assert service.shell("ls -d /opt/pi0-controller/releases/*") == before, "nothing of the other is left"
    service.pi0ctl("--help")

    said = service.make("install")
    assert f"{before} is in place already" in said
    assert f"kept {CONFIG}" in said
    assert service.container.path(str(CONFIG)).read_text() == config

    service.shell("source /usr/local/share/bash-completion/completions/pi0ctl; complete -p pi0ctl")


def test_uninstall_leaves_configuration_and_data_and_nothing_else(installed: Service) -> None:
    installed.start()
    assert "pi0-controller.service is running" in installed.make("uninstall", check=False)
    installed.stop()
    installed.make("uninstall")
    assert installed.leftovers() == []
    of_others = ("/var/lib/systemd/", "/var/log/", "/home/", "/var/mail/", "/root/.cache/", f"{ROOT}/")
    kept = ("/etc/", "/var/lib/pi0-controller/", *of_others)
    assert {path for path in installed.container.written() if not path.startswith(kept)} == set()
    assert installed.container.path(str(CONFIG)).exists()


def test_a_gpu_machine_gets_the_policy_server_alone(installed: Service) -> None:
    installed.make("install-server")
    installed.run("systemctl", "start", SERVER)
    assert installed.shown("ActiveState", SERVER) == "active"
    assert installed.shown("LoadState") == "not-found"
    assert installed.shell("cd /usr/local/bin; echo pi0*") == "pi0-policy-server"
    ask = r"exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET / HTTP/1.1\r\nHost: here\r\n\r\n' >&3; head --lines=1 <&3"
    assert "401" in installed.shell(ask), "without the key nobody gets in"
    installed.run("systemctl", "stop", SERVER)
    installed.make("uninstall")
    assert installed.leftovers() == []
