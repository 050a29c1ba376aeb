"""The daemon's ordinary life, start to end, as its operator sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from harness import Tap, check_smooth, configuration, daemon, leftovers, wait_for
from servers import HOME, METADATA, PERIOD_S, SWAY, answering, server, sway
from tap import rest_after_ms

from controller.refused import Refused
from policy_server.protocol import pack

pytestmark = pytest.mark.stack


def test_home_run_stop_run_again_and_end(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        with pytest.raises(Refused, match="not homed"):
            running.client.command("run", 5.0, prompt="x")
        running.home()
        running.run()
        running.moving(tap)
        assert running.status()["control"]["stall_ticks"] == 0
        running.client.command("stop", 10.0)
        assert running.status()["state"] == "idle"
        assert running.status()["robot"]["mode"] == "hold"
        held = running.status()["robot"]["q_command"]
        tap.watch(0.5)
        assert running.status()["robot"]["q_command"] == held
        running.run()
        running.moving(tap)
        check_smooth(tap.drain())
        children = running.children()
        assert running.stop() == 0
        assert leftovers(running.process.pid) == []
        wait_for("no process left", lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])
        assert not running.socket.exists()


def test_an_ordered_end_in_mid_motion_brakes_first(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.home()
        running.run()
        running.moving(tap)
        assert running.stop() == 0
        rows = tap.drain()
        check_smooth(rows)
        assert (rows[-1]["qd_command"] == 0.0).all()


PARK = [0.0, 0.9, 0.6, 0.5, 0.0, 0.0, 0.03]


@pytest.mark.long
def test_the_arms_park_at_the_end_from_a_homed_idle_only(tmp_path: Path) -> None:
    changes = {"velocity_feedforward = true": f"velocity_feedforward = true\npark = {PARK}"}
    with server() as url, daemon(tmp_path, url, hurried=False, **changes) as running:
        tap = Tap(running.process.pid)
        running.home()
        assert running.stop() == 0
        rows = tap.drain()
        check_smooth(rows)
        np.testing.assert_allclose(rows[-1]["q_command"], PARK * 2, atol=2e-3)
        running.start().ready()
        tap = Tap(running.process.pid)
        running.home()
        running.run()
        running.moving(tap)
        assert running.stop() == 0
        rows = tap.drain()
        check_smooth(rows)
        assert np.abs(rows[-1]["q_command"] - np.array(PARK * 2)).max() > 0.05, "who ends a run asks for no motion"


def test_stop_while_homing_holds_where_the_arms_are(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.client.command("home", 5.0)
        running.moving(tap)
        running.client.command("stop", 5.0)
        status = running.status()
        assert (status["state"], status["homed"]) == ("idle", False)
        check_smooth(tap.drain())


@pytest.mark.raises_fault("estop", "running")
def test_estop_latches_and_reset_leads_to_an_unhomed_idle(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.home()
        running.run()
        running.moving(tap)
        running.client.command("estop", 5.0)
        t_event_ns = int(tap.drain()[-1]["t_command_ns"])
        status = running.until("at rest", lambda status: status["robot"]["mode"] == "hold")
        assert status["state"] == "fault"
        assert status["fault"]["code"] == "estop"
        rows = tap.watch(0.3)
        check_smooth(rows)
        rest_after_ms(rows, t_event_ns)
        for command in ({"name": "home"}, {"name": "run", "prompt": "x"}):
            with pytest.raises(Refused):
                running.client.command(command.pop("name"), 5.0, **command)
        running.until("reset allowed", lambda status: "reset" in status["allowed"])
        running.client.command("reset", 5.0)
        status = running.status()
        assert (status["state"], status["homed"], status["fault"]) == ("idle", False, None)
        running.home()
        running.run()
        running.client.command("stop", 5.0)


def test_no_motion_is_replayed_after_a_fault(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.home()
        running.run()
        running.moving(tap)
        running.client.command("estop", 5.0)
        running.until("reset allowed", lambda status: "reset" in status["allowed"])
        held = tap.drain()[-1]["q_command"].copy()
        running.client.command("reset", 5.0)
        seen = len(tap.watch(0.5))
        np.testing.assert_array_equal(tap.rows[-1]["q_command"], held)
        running.home()
        rows = tap.drain()[seen - 1 :]
        moved = np.abs(rows["q_command"] - held).max(axis=1)
        assert moved[np.flatnonzero(moved)[0]] < 1e-3, "the next motion begins where the arms were held"
        measured = rows["q"][np.flatnonzero(moved)[0]]
        assert np.abs(measured - held)[[0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]].max() < 0.02


def test_stop_while_a_run_is_prepared_keeps_it_from_beginning(tmp_path: Path) -> None:
    with server(delay_s=1.0) as url, daemon(tmp_path, url) as running:
        running.home()
        running.until("run allowed", lambda status: "run" in status["allowed"])
        refused: list[str] = []

        def run() -> None:
            with pytest.raises(Refused) as error:
                running.client.command("run", 30.0, prompt="x")
            refused.append(error.value.reason)

        asking = threading.Thread(target=run)
        asking.start()
        status = running.until("preparing", lambda status: status["preparing"])
        assert status["allowed"] == ["stop"]
        with pytest.raises(Refused, match="being prepared"):
            running.client.command("home", 5.0)
        running.client.command("stop", 10.0)
        asking.join()
        assert refused == ["stopped while waiting for the first actions"]
        time.sleep(1.2)  # the answer comes, and nobody wants it any more
        status = running.status()
        assert (status["state"], status["preparing"], status["control"]["chunks"]) == ("idle", None, 0)
        running.run()
        running.client.command("stop", 10.0)


def test_an_emergency_stop_on_top_of_a_fault_takes_its_place(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        running.home()
        running.run()
        os.kill(running.pid_of("control"), signal.SIGKILL)
        running.until("fault", lambda status: status["state"] == "fault")
        running.client.command("estop", 5.0)
        status = running.status()
        assert (status["fault"]["code"], status["fault"]["state_before"]) == ("estop", "running")


def test_stop_where_nothing_moves_is_no_error(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        running.client.command("stop", 5.0)
        assert running.status()["state"] == "idle"


@pytest.mark.long
def test_an_action_rate_of_30_hz_is_followed(tmp_path: Path) -> None:
    def slow_sway(_request: object) -> np.ndarray:
        t_s = time.monotonic() + np.arange(50) / 30.0
        return HOME + SWAY * np.sin(2 * np.pi * t_s / PERIOD_S)[:, None]

    metadata = pack(METADATA | {"action_rate_hz": 30.0})
    with server(answering(slow_sway), metadata=metadata) as url, daemon(tmp_path, url) as running:
        tap = Tap(running.process.pid)
        running.home()
        running.run()
        rows = tap.watch(3.0)
        peaks = np.abs(rows["q_command"][:, 0]).max()
        assert 0.3 < peaks < 0.4
        check_smooth(rows)
        running.client.command("stop", 5.0)


def test_a_server_that_says_nothing_of_itself_is_driven_by_the_configuration(tmp_path: Path) -> None:
    requests = []

    def answer(request: dict) -> np.ndarray:
        requests.append(request)
        return sway(request)

    with server(answering(answer), metadata=b"\x80") as url, daemon(tmp_path, url) as running:
        running.home()
        running.run("put it in")
        wait_for("requests", lambda: len(requests) > 3)
        running.client.command("stop", 5.0)
    request = requests[-1]
    assert set(request) == {"state", "images", "prompt"}, "nothing that a stock server does not know"
    assert request["prompt"] == "put it in"
    assert request["state"].shape == (14,)
    assert list(request["images"]) == METADATA["cameras"]
    assert {(image.shape, image.dtype.str) for image in request["images"].values()} == {((3, 224, 224), "|u1")}


def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with server() as url, daemon(tmp_path, url) as running:
        command = [sys.executable, "-m", "controller", "--config", str(running.config), "--socket", str(running.socket)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert str(running.socket) in second.stderr
        assert str(running.process.pid) in second.stderr
        running.home()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rate_hz = 50\n", "rate_hz = fifty\n", "not valid TOML"),
        ("blend_s = 0.1", "blend_s = 0.1\nblend = 1", "control.blend: unknown key"),
        ("lower        = [-3.0533", "lower        = [3.06", "reversed"),
        ("[cameras.cam_low]", "[cameras.cam_lower]", "cam_lower"),
    ],
)
def test_a_bad_configuration_ends_with_78_and_one_clear_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = configuration(tmp_path, "ws://127.0.0.1:1", **{old: new})
    command = [sys.executable, "-m", "controller", "--config", str(path), "--socket", str(tmp_path / "s" / "c.sock")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 78
    assert said in ended.stderr
    assert str(path) in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
