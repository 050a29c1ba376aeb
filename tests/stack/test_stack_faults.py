"""Everything that can break while the arms move: they brake and hold, the state says why, and it all works again."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from harness import (
    FAULTS,
    LEASE_S,
    Tap,
    check_smooth,
    daemon,
    leftovers,
    program,
    running_fast,
    wait_for,
    works_again,
)
from servers import METADATA, Answer, answering, server, sway
from tap import rest_after_ms

from controller.refused import Refused
from policy_server.protocol import pack

pytestmark = pytest.mark.stack


@pytest.mark.raises_fault("control_lost", "running")
@pytest.mark.raises_fault("link_lost", "running")
def test_a_killed_child_brakes_the_arms_and_all_works_again(tmp_path: Path) -> None:
    losses = {"control": "control_lost", "link": "link_lost"}
    with server() as url, daemon(tmp_path, url) as running:
        for process, code in losses.items():
            tap = running_fast(running)
            pid = running.pid_of(process)
            t_event_ns = time.monotonic_ns()
            os.kill(pid, signal.SIGKILL)
            status = running.until("fault", lambda status: status["state"] == "fault")
            rows = tap.watch(0.5)
            assert status["fault"]["code"] == code
            assert "signal 9" in status["fault"]["message"]
            check_smooth(rows)
            print(f"{process} killed: at rest after {rest_after_ms(rows, t_event_ns):.0f} ms")
            works_again(running)


@pytest.mark.raises_fault("motor_lost", "running")
def test_a_killed_motor_process_leaves_the_arms_where_they_are(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = running_fast(running)
        os.kill(running.pid_of("motor"), signal.SIGKILL)
        before = tap.drain()[-1]
        status = running.until("fault", lambda status: status["state"] == "fault")
        assert status["fault"]["code"] == "motor_lost"
        running.until("motor back", lambda status: "reset" in status["allowed"])
        after = tap.watch(0.3)[-1]
        assert after["piece"] == 0, "a new process"
        assert np.abs(after["q_command"] - before["q_command"]).max() < 0.05
        works_again(running)


def test_a_killed_recorder_stops_nothing(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        running_fast(running)
        os.kill(running.pid_of("recorder"), signal.SIGKILL)
        status = running.until("recorder back", lambda s: s["processes"]["recorder"]["restarts"] == 1)
        assert status["state"] == "running"
        running.client.command("stop", 10.0)


@pytest.mark.raises_fault("control_lost", "running")
@pytest.mark.raises_fault("link_lost", "running")
@pytest.mark.raises_fault("motor_lost", "running")
def test_a_hung_child_is_a_fault_and_is_replaced(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        for process in ("control", "link", "motor"):
            running_fast(running)
            pid = running.pid_of(process)
            os.kill(pid, signal.SIGSTOP)
            running.until("fault", lambda status: status["state"] == "fault")
            running.until("replaced", lambda s, name=process, old=pid: s["processes"][name]["pid"] not in (old, None))
            works_again(running)


def test_a_killed_supervisor_lets_the_motor_process_brake_and_then_everything_ends(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = running_fast(running)
        pid = running.process.pid
        children = running.children()
        t_event_ns = time.monotonic_ns()
        os.kill(pid, signal.SIGKILL)
        wait_for("children gone", lambda: not running.children())
        rows = tap.drain()
        check_smooth(rows)
        print(f"at rest after {rest_after_ms(rows, t_event_ns):.0f} ms")
        assert children
        assert leftovers(pid) == []
        running.process.wait()
        running.start().ready()
        running.home()
        running.run()
        running.client.command("stop", 10.0)


def test_a_killed_process_group_leaves_nothing_once_the_daemon_starts_again(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        running_fast(running)
        dead = running.process.pid
        running.kill_group()
        assert leftovers(dead), "the tracker died too, so the segments stay"
        running.start().ready()
        assert leftovers(dead) == []
        assert running.status()["state"] == "idle"
        assert running.status()["homed"] is False


@pytest.mark.raises_fault("lease_lost", "running")
def test_a_stopped_supervisor_ends_motion_by_the_lease(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = running_fast(running)
        t_event_ns = time.monotonic_ns()
        os.kill(running.process.pid, signal.SIGSTOP)
        rows = tap.watch(LEASE_S + 0.5)
        check_smooth(rows)
        print(f"at rest after {rest_after_ms(rows, t_event_ns):.0f} ms")
        os.kill(running.process.pid, signal.SIGCONT)
        status = running.until("fault", lambda status: status["state"] == "fault")
        assert status["fault"]["code"] == "lease_lost"
        works_again(running)


@pytest.mark.raises_fault("policy_lost", "running")
def test_a_lost_policy_server_is_named_and_motion_waits_for_the_operator(tmp_path: Path) -> None:
    with ExitStack() as servers:
        url = servers.enter_context(server())
        with daemon(tmp_path, url) as running:
            tap = running_fast(running)
            servers.close()
            status = running.until("fault", lambda status: status["state"] == "fault")
            assert status["fault"]["code"] == "policy_lost"
            rows = tap.watch(0.5)
            check_smooth(rows)
            with server(port=int(url.rsplit(":", 1)[1])):
                status = running.until("reconnected", lambda status: status["policy"]["connected"])
                assert status["state"] == "fault", "a reconnection moves nothing"
                works_again(running)


LIES: dict[str, tuple[Answer, str]] = {
    "garbage": (lambda _request: b"\xc1garbage", "cannot be read"),
    "no actions": (lambda request: pack({"request_id": request["request_id"]}), "no 'actions'"),
    "an older answer": (lambda request: pack({"request_id": request["request_id"] - 1}), "answer to request"),
    "an error": (lambda _request: "Traceback\nValueError: no such prompt", "no such prompt"),
    "seven joints": (answering(lambda request: sway(request)[:, :7]), "(50, 7)"),
    "nan": (answering(lambda _request: np.full((50, 14), np.nan)), "nan"),
    "infinite": (answering(lambda _request: np.full((50, 14), np.inf)), "inf"),
    "beyond the limits": (answering(lambda request: sway(request) + 3.0), "outside"),
}


@pytest.mark.raises_fault("answer_invalid", "idle")
@pytest.mark.raises_fault("policy_refused", "idle")
def test_a_lying_server_moves_nothing_and_is_told_on(tmp_path: Path) -> None:
    lie: list[Answer] = [answering(sway)]
    with server(lambda request: lie[0](request)) as url, daemon(tmp_path, url) as running:
        running.home()
        tap = Tap(running.process.pid)
        before = len(tap.drain())
        for name, (answer, said) in LIES.items():
            lie[0] = answer
            running.until("run allowed", lambda status: "run" in status["allowed"])
            with pytest.raises(Refused) as refused:
                running.client.command("run", 30.0, prompt="x")
            assert said in refused.value.reason, name
            assert running.status()["state"] == "idle"
        rows = tap.drain()[before:]
        assert (rows["q_command"] == rows["q_command"][0]).all()
        lie[0] = answering(sway)
        running.run()
        running.client.command("stop", 10.0)


WAYS = {"nan": "answer_invalid", "empty": "answer_invalid", "error": "policy_refused", "slow": "plan_ended"}


@pytest.mark.raises_fault("answer_invalid", "running")
@pytest.mark.raises_fault("policy_refused", "running")
@pytest.mark.raises_fault("plan_ended", "running")
def test_a_server_that_goes_bad_brakes_the_arms(tmp_path: Path) -> None:
    way = tmp_path / "server.bad"
    with program(FAULTS / "bad_server.py", str(way)) as url, daemon(tmp_path, url) as running:
        for word, code in WAYS.items():
            way.write_text("")
            tap = running_fast(running)
            way.write_text(word)
            status = running.until("fault", lambda status: status["state"] == "fault")
            assert status["fault"]["code"] == code, word
            running.until("reset allowed", lambda status: "reset" in status["allowed"])
            check_smooth(tap.drain())
            running.client.command("reset", 10.0)
        assert running.status()["control"]["stall_ticks"] >= 1


@pytest.mark.raises_fault("policy_refused", "idle")
def test_a_server_that_wants_a_camera_we_lack_is_refused(tmp_path: Path) -> None:
    metadata = pack(METADATA | {"cameras": ["cam_high", "cam_belly"]})
    with server(metadata=metadata) as url, daemon(tmp_path, url) as running:
        running.home()
        status = running.until("said", lambda status: "cam_belly" in status["refusals"].get("run", ""))
        assert not status["policy"]["connected"]
        with pytest.raises(Refused, match="cam_belly"):
            running.client.command("run", 5.0, prompt="x")
