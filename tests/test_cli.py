"""pi0ctl through its real main(), against a served supervisor: what it prints, sends and returns."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_operations import ServedOperations, full_status

from controller.cli import Exit, main
from controller.refused import Refused
from controller.run_options import RunOptions, Seam
from controller.summary import DRY_RUN


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedOperations]:
    monkeypatch.setattr("controller.api.SHUTDOWN_TIMEOUT_S", 0.1)
    monkeypatch.setattr("controller.waiting.POLL_S", 0.01)
    with tempfile.TemporaryDirectory(prefix="pi0-") as name, ServedOperations(Path(name) / "c.sock") as served:
        yield served


def pi0ctl(daemon: ServedOperations, *arguments: str) -> int:
    return main(["--socket", str(daemon.path), *arguments])


def spawn(daemon: ServedOperations, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "controller.cli", "--socket", str(daemon.path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_called(daemon: ServedOperations, name: str) -> None:
    for _ in range(2000):
        if any(called == name for called, _ in daemon.operations.called):
            return
        time.sleep(0.005)
    pytest.fail(f"{name} was not called, only {daemon.operations.called}")


@pytest.mark.parametrize("command", ["stop", "estop", "reset", "shutdown"])
def test_plain_commands(daemon: ServedOperations, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert pi0ctl(daemon, command) == Exit.DONE
    assert [name for name, _ in daemon.operations.called] == [command]
    assert capsys.readouterr().out == f"{command}: done, state {daemon.operations.values['state']}\n"


def test_scene(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "scene", "--seed", "7") == Exit.DONE
    assert daemon.operations.called == [("scene", 7)]


def test_reload_says_what_has_changed(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    assert pi0ctl(daemon, "reload") == Exit.DONE
    assert capsys.readouterr().out == "reload: done\n  policy.url: 'ws://a' -> 'ws://b'\n"
    ((name, who),) = daemon.operations.called
    assert name == "reload"
    assert f"pid {os.getpid()}" in who
    daemon.operations.refusal = Refused("c.toml: control.blend: unknown key", ["home"])
    assert pi0ctl(daemon, "reload") == Exit.REFUSED
    assert "refused: c.toml: control.blend: unknown key" in capsys.readouterr().err


def test_home_waits_until_homed(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.during_motion = daemon.operations.arrive
    assert pi0ctl(daemon, "home") == Exit.DONE
    assert capsys.readouterr().out == "home: done, homed\n"
    assert daemon.operations.called == [("home", 1.0)]


def test_home_slowly(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "home", "--speed", "0.2", "--no-wait") == Exit.DONE
    assert daemon.operations.called == [("home", 0.2)]


def jogged(daemon: ServedOperations, by: float) -> None:
    """The motion is over, and left_joint_1 has gone so far; nan: nobody knows where it is."""
    values = daemon.operations.values
    q = list(values["robot"]["q_command"])
    q[1] += by
    values["robot"] |= {"q_command": [] if math.isnan(by) else q}
    values |= {"state": "idle", "homed": False}


def test_jog_waits_and_says_that_the_arms_are_not_homed(
    daemon: ServedOperations, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.operations.during_motion = lambda: jogged(daemon, -0.05)
    assert pi0ctl(daemon, "jog", "left_joint_1", "-0.05") == Exit.DONE
    assert daemon.operations.called == [("jog", ("left_joint_1", -0.05, 0.1))]
    assert capsys.readouterr().out == "jog: done; the arms are not homed\n"


@pytest.mark.parametrize("by", [-0.02, math.nan])
def test_a_jog_that_does_not_arrive_is_not_done(
    daemon: ServedOperations, capsys: pytest.CaptureFixture[str], by: float
) -> None:
    daemon.operations.during_motion = lambda: jogged(daemon, by)
    assert pi0ctl(daemon, "jog", "left_joint_1", "-0.05") == Exit.REFUSED
    assert f"jog: stopped by another command after {by:+.4f} of -0.0500" in capsys.readouterr().err


def test_a_jog_too_far_is_not_understood(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    assert pi0ctl(daemon, "jog", "left_joint_1", "0.2") == Exit.USAGE
    assert "by=0.2 must be a number, at most 0.1 rad either way" in capsys.readouterr().err
    assert daemon.operations.called == []


def test_home_need_not_wait(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "home", "--no-wait") == Exit.DONE
    assert daemon.operations.values["state"] == "homing"


def test_home_that_somebody_stops_is_not_done(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.during_motion = lambda: daemon.operations.values.update(state="idle")
    assert pi0ctl(daemon, "home") == Exit.REFUSED
    assert "stopped by another command" in capsys.readouterr().err


def test_run_returns_once_running(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "run", "--prompt", "put the lighter into the cup") == Exit.DONE
    assert daemon.operations.called == [("run", "put the lighter into the cup")]
    assert daemon.operations.values["state"] == "running"


def test_run_passes_on_how_it_is_to_be_played(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seam", "switch", "--speed", "0.3", "--dry", "--execution-horizon", "10"]
    assert pi0ctl(daemon, "run", "--prompt", "x", *options) == Exit.DONE
    assert daemon.operations.options == RunOptions(Seam.SWITCH, 0.3, dry=True, execution_horizon=10)
    out = capsys.readouterr().out
    assert out == "run: DRY RUN: nothing is commanded, seam switch  speed 0.30\nrun: pi0ctl stop ends it\n"


def test_run_leaves_unsaid_what_was_not_said(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "run", "--prompt", "x") == Exit.DONE
    assert daemon.operations.options == daemon.operations.usual_options()


def test_less_than_was_asked_for_is_said(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    less = "seam blend INSTEAD OF rtc: the policy server does not offer rtc  speed 1.00\n"
    assert pi0ctl(daemon, "run", "--prompt", "x", "--seam", "rtc") == Exit.DONE
    assert capsys.readouterr().out.startswith(f"run: running, {less}")
    assert pi0ctl(daemon, "adjust", "--seam", "rtc") == Exit.DONE
    assert capsys.readouterr().out == f"adjust: {less}"


def test_adjust(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    assert pi0ctl(daemon, "adjust", "--speed", "0.5") == Exit.DONE
    assert pi0ctl(daemon, "adjust", "--seam", "ensemble") == Exit.DONE
    assert daemon.operations.called == [("adjust", (0.5, None)), ("adjust", (None, Seam.ENSEMBLE))]
    assert capsys.readouterr().out.splitlines()[-1] == "adjust: seam ensemble  speed 0.50"


def test_run_for_a_time_stops_at_its_end(daemon: ServedOperations) -> None:
    assert pi0ctl(daemon, "run", "--prompt", "x", "--for", "0.1") == Exit.DONE
    assert [name for name, _ in daemon.operations.called] == ["run", "stop"]


def test_run_that_another_motion_replaced_is_not_stopped(daemon: ServedOperations) -> None:
    daemon.operations.during_motion = lambda: daemon.operations.values.update(motion_id=99)
    assert pi0ctl(daemon, "run", "--prompt", "x", "--for", "5") == Exit.REFUSED
    assert [name for name, _ in daemon.operations.called] == ["run"]


@pytest.mark.parametrize("command", [["home"], ["run", "--prompt", "x", "--for", "5"]])
def test_fault_during_a_motion_is_printed_with_its_next_step(
    daemon: ServedOperations, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    daemon.operations.during_motion = daemon.operations.trip
    assert pi0ctl(daemon, *command) == Exit.FAULT
    message, cause, next_step = capsys.readouterr().err.splitlines()
    assert message == "fault PLAN_ENDED: plan ended 0.24 s after the last chunk, bound 0.20 s"
    assert cause.startswith("cause: the last action chunk")
    assert next_step == "next:  check inference time and network, then reset, home and run"
    assert [name for name, _ in daemon.operations.called] == command[:1]


def test_refusal_is_printed_with_what_is_allowed(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.refusal = Refused("not homed; home first", ["home", "reset"])
    assert pi0ctl(daemon, "run", "--prompt", "x") == Exit.REFUSED
    assert capsys.readouterr().err == "refused: not homed; home first\nallowed now: home, reset\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "--prompt", "x", "--for", "0"],
        ["run", "--prompt", "x", "--for", "nan"],
        ["run", "--prompt", "x", "--for", "long"],
        ["--timeout", "inf", "status"],
        ["scene", "--seed", "x"],
        ["run", "--prompt", "x", "--seam", "smooth"],
        ["run", "--prompt", "x", "--speed", "fast"],
        ["adjust", "--dry"],
    ],
)
def test_wrong_usage(daemon: ServedOperations, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        pi0ctl(daemon, *arguments)
    assert ended.value.code == Exit.USAGE
    assert daemon.operations.called == []


def test_a_time_that_is_none_is_named(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("long", "-1", "nan"):
        with pytest.raises(SystemExit):
            pi0ctl(daemon, f"--timeout={text}", "status")
        assert f"'{text}' must be a positive number of seconds" in capsys.readouterr().err


def test_what_the_daemon_finds_wrong_is_usage_too(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    assert pi0ctl(daemon, "run", "--prompt", "x" * 1001) == Exit.USAGE
    assert "at most 1000" in capsys.readouterr().err
    assert pi0ctl(daemon, "scene", "--seed", "-1") == Exit.USAGE
    assert pi0ctl(daemon, "adjust") == Exit.USAGE
    for speed in ("nan", "0", "1.01"):
        assert pi0ctl(daemon, "run", "--prompt", "x", "--speed", speed) == Exit.USAGE
        assert "must be a number from 0.05 to 1" in capsys.readouterr().err
    assert daemon.operations.called == []


def test_watch_needs_a_terminal(daemon: ServedOperations) -> None:
    process = spawn(daemon, "watch")
    assert "needs a terminal" in process.communicate(timeout=20)[1]
    assert process.returncode == Exit.USAGE


def test_unreachable_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.sock"
    assert main(["--socket", str(path), "status"]) == Exit.UNREACHABLE
    assert f"no daemon at {path}: start it (systemctl start pi0-controller" in capsys.readouterr().err


def test_daemon_that_fails_or_ends_in_the_middle(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.values = {"not JSON": object()}
    assert pi0ctl(daemon, "status") == Exit.UNREACHABLE
    assert "failed with HTTP 500" in capsys.readouterr().err
    with tempfile.TemporaryDirectory(prefix="pi0-") as name, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{name}/c.sock")
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "--socket", f"{name}/c.sock", "stop"],
            stderr=subprocess.PIPE,
            text=True,
        )
        listener.accept()[0].close()
        assert "no answer from the daemon" in process.communicate(timeout=20)[1]
        assert process.returncode == Exit.UNREACHABLE


def test_no_answer_in_time(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.hang.add("reset")
    assert main(["--socket", str(daemon.path), "--timeout", "0.1", "reset"]) == Exit.TIMEOUT
    assert capsys.readouterr().err == "no answer to POST /reset within 0.1 s\n"
    assert [name for name, _ in daemon.operations.called] == ["reset"]


def test_command_whose_effect_does_not_show(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.refusal = TimeoutError()
    assert pi0ctl(daemon, "reset") == Exit.TIMEOUT
    assert capsys.readouterr().err.startswith("/reset was begun, but its effect did not show in time")


@pytest.mark.parametrize("hangs", [set(), {"home"}])
def test_homing_that_takes_too_long_is_stopped(daemon: ServedOperations, hangs: set[str]) -> None:
    daemon.operations.hang = hangs
    assert main(["--socket", str(daemon.path), "--timeout", "0.1", "home"]) == Exit.TIMEOUT
    assert [name for name, _ in daemon.operations.called] == ["home", "stop"]


def test_unconfirmed_stop_is_said_loudly(
    daemon: ServedOperations, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.waiting.STOP_TIMEOUT_S", 0.1)
    daemon.operations.hang.add("stop")
    assert main(["--socket", str(daemon.path), "--timeout", "0.1", "home"]) == Exit.TIMEOUT
    assert "STOP WAS NOT CONFIRMED" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["home"], ["run", "--prompt", "x", "--for", "60"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_leaving_a_motion_stops_it(daemon: ServedOperations, command: list[str], number: signal.Signals) -> None:
    process = spawn(daemon, *command)
    wait_until_called(daemon, command[0])
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED
    assert errors == "stopped: the arms are at rest\n"
    assert [name for name, _ in daemon.operations.called] == [command[0], "stop"]


def test_leaving_before_the_first_chunk_stops_too(daemon: ServedOperations) -> None:
    daemon.operations.hang.add("run")
    process = spawn(daemon, "run", "--prompt", "x")
    wait_until_called(daemon, "run")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED
    assert [name for name, _ in daemon.operations.called] == ["run", "stop"]


def test_events(daemon: ServedOperations) -> None:
    daemon.call(daemon.operations.bus.publish, "state", "idle -> homing")
    process = spawn(daemon, "events", "--replay", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["text"] == "idle -> homing"
    daemon.call(daemon.operations.bus.publish, "fault", "plan ended")
    assert json.loads(process.stdout.readline())["kind"] == "fault"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == Exit.INTERRUPTED


def test_events_for_people_and_the_daemons_end(daemon: ServedOperations) -> None:
    with tempfile.TemporaryDirectory(prefix="pi0-") as name:
        with ServedOperations(Path(name) / "c.sock") as other:
            other.call(other.operations.bus.publish, "state", "idle -> homing")
            process = spawn(other, "events", "--replay")
            assert process.stdout is not None
            line = process.stdout.readline()
        _, errors = process.communicate(timeout=20)
    assert line.split("  ", 1)[1] == "state       idle -> homing\n"
    assert "it ended or dropped a slow reader" in errors
    assert process.returncode == Exit.UNREACHABLE


def test_events_into_a_closed_pipe_end_quietly(daemon: ServedOperations) -> None:
    process = spawn(daemon, "events")
    assert process.stdout is not None
    while daemon.operations.bus.readers == 0:
        time.sleep(0.005)
    process.stdout.close()
    daemon.call(daemon.operations.bus.publish, "state", "x")
    assert process.wait(timeout=20) == Exit.DONE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_progress_is_shown_on_a_terminal_only(daemon: ServedOperations) -> None:
    reading, writing = os.openpty()
    command = [sys.executable, "-m", "controller.cli", "--socket", str(daemon.path), "home"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing, text=True)
    shown = b""
    while b"fastest joint 0.10 rad/s" not in shown:
        assert select.select([reading], [], [], 20)[0]
        shown += os.read(reading, 65536)
    daemon.call(daemon.operations.arrive)
    assert process.communicate(timeout=20)[0] == "home: done, homed\n"
    os.close(writing)
    os.close(reading)


@pytest.mark.parametrize("hung_up", [True, False])
def test_a_terminal_that_is_closed_stops_the_motion(daemon: ServedOperations, hung_up: bool) -> None:
    reading, writing = os.openpty()
    command = [sys.executable, "-m", "controller.cli", "--socket", str(daemon.path), "home"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    shown = b""
    while b"fastest joint" not in shown:
        assert select.select([reading], [], [], 20)[0]
        shown += os.read(reading, 65536)
    os.close(reading)  # from now on nothing can be written there
    if hung_up:
        process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert [name for name, _ in daemon.operations.called] == ["home", "stop"]
    assert process.returncode != Exit.DONE


def test_progress_of_a_dry_run_says_so(daemon: ServedOperations) -> None:
    reading, writing = os.openpty()
    command = [sys.executable, "-m", "controller.cli", "--socket", str(daemon.path), "run", "--prompt", "x", "--dry"]
    process = subprocess.Popen([*command, "--for", "60"], stdout=subprocess.PIPE, stderr=writing, text=True)
    shown = b""
    while f"{DRY_RUN}   running".encode() not in shown:
        assert select.select([reading], [], [], 20)[0]
        shown += os.read(reading, 65536)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    os.close(writing)
    os.close(reading)


def test_status_as_json_is_the_daemons_own(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.values = full_status()
    assert pi0ctl(daemon, "status", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out) == full_status()


def test_status_for_people(daemon: ServedOperations, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.operations.values = full_status()
    daemon.call(daemon.operations.trip)
    assert pi0ctl(daemon, "status") == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert "pi0-controller 0.1.0  pid 4200  up 1:02:03  config embedded" in lines
    assert 'state     FAULT  not homed  motion 7  "put the lighter into the cup"' in lines
    assert "fault     PLAN_ENDED: plan ended 0.24 s after the last chunk, bound 0.20 s" in lines
    assert "          next:  check inference time and network, then reset, home and run" in lines
    assert "not home  home is not possible in state running" in lines
    assert "cam_left_wrist   ok  30.0  30      21        2" in lines
    assert "cam_left_wrist     yes      yes    yes      21    500" in lines
    assert "policy    connected  pi0 0.1  scripted  ws://127.0.0.1:8000" in lines
    assert "motor        200   31   88  912       3" in lines
    assert "seam      blend  speed 0.50  delay 112/41 ms (expected/last)" in lines
    assert ">2 blend          41       3.1     12.4         8.1     9.0" in lines
    assert " 4 rtc             0         -        -           -       -" in lines
    assert max(len(line) for line in lines) <= 100


def test_cli_starts_without_the_heavy_imports() -> None:
    code = "import sys, controller.cli; print([m for m in ('aiohttp', 'rich', 'numpy', 'asyncio') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert result.stdout == "[]\n"
