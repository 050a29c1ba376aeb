"""The live screen: what it draws at which size, and its keys in a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_operations import FAULT, ServedOperations, full_status, nulled
from rich.console import Console

from controller.run_options import SPEED, RunOptions, Seam
from controller.screen import screen
from controller.watch import adjustment

EVENTS = [
    {"t_ns": n, "time": f"2026-03-04T05:06:{n:02d}.000+00:00", "kind": "state", "text": f"event {n} " + "x" * 200}
    for n in range(60)
]
SIZES = [(80, 24), (80, 40), (120, 30), (120, 40), (200, 60), (40, 10)]


def drawn(status: Any, width: int, height: int, *, problem: str = "", notice: str = "") -> list[str]:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=width, height=height, file=nowhere, force_terminal=True, record=True)
        picture = screen(status, EVENTS, problem=problem, notice=notice, width=width, height=height)
        console.print(picture, height=height, end="")
        return console.export_text().splitlines()


def faulted() -> dict[str, Any]:
    return full_status() | {"state": "fault", "homed": False, "fault": FAULT}


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("make", [full_status, faulted, lambda: nulled(full_status()), dict])
def test_every_size_is_filled_and_not_exceeded(make: Any, width: int, height: int) -> None:
    lines = drawn(make(), width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width
    assert not set("╭╮╰╯") & set("".join(lines))  # the layout's placeholder for a missing part


@pytest.mark.parametrize(("width", "height"), SIZES[:-1])
def test_what_an_operator_needs_is_on_every_screen(width: int, height: int) -> None:
    lines = drawn(faulted(), width, height)
    text = "\n".join(lines)
    assert lines[0].startswith(" FAULT   not homed  motion 7")
    assert lines[1].startswith("PLAN_ENDED: plan ended 0.24 s after the last chunk, bound 0.20 s")
    assert lines[3].startswith("next:  check inference time and network")
    assert lines[-1].startswith(" space/s stop   e emergency stop   q quit")
    for name in full_status()["processes"]:
        assert re.search(rf"^{name.removeprefix('camera ')} +4242 ", text, re.MULTILINE)
    for word in ("cam_right_wrist       ok 30.0  21    2", "end to end", "motor ", "right grip"):
        assert word in text
    assert sum(line.count("●") for line in lines) == 14 + 1  # the joints and the legend


def test_room_is_used_when_there_is_room() -> None:
    small, large = "\n".join(drawn(full_status(), 80, 24)), "\n".join(drawn(full_status(), 120, 40))
    for word in ("fifo 20, memory locked, cpu 3", "round trip", "event 59", "not in the cup", "load 1.25"):
        assert word in large
    assert "fifo 20" not in small


def test_joints_show_measured_and_commanded_between_limits() -> None:
    status = full_status()
    robot = status["robot"]
    robot["lower"][0], robot["upper"][0] = -1.0, 1.0
    robot["q"][0], robot["q_command"][0] = -1.0, 1.0
    robot["q"][1] = float("nan")
    robot["q"][2] = 99.0
    line = {label: next(line for line in drawn(status, 80, 24) if line.startswith(label)) for label in
            ("left 0", "left 1", "left 2")}  # fmt: skip
    assert re.match(r"left 0     ●─{17}┃  -1\.000", line["left 0"])
    assert re.match(r"left 1     ─+┃─+     nan", line["left 1"])
    assert re.match(r"left 2     ─+┃─+●  99\.000", line["left 2"])


def test_dead_process_and_slow_camera_are_marked() -> None:
    status = full_status()
    status["processes"]["motor"]["alive"] = False
    status["cameras"]["cam_low"]["at_rate"] = False
    text = "\n".join(drawn(status, 80, 24))
    assert re.search(r"motor +4242 DEAD", text)
    assert re.search(r"cam_low +slow", text)


def test_a_guard_that_is_off_is_on_the_first_line() -> None:
    status = full_status()
    assert "guard OFF" not in drawn(status, 80, 24)[0]
    status["guard"] = {"enabled": False}
    assert "guard OFF" in drawn(status, 80, 24)[0]


def test_old_numbers_are_not_shown_as_new() -> None:
    text = "\n".join(drawn(full_status(), 80, 24, problem="no daemon at x.sock", notice="stop NOT CONFIRMED"))
    assert "NO STATUS   no daemon at x.sock" in text
    assert "event 59" in text
    assert "╭" not in text
    assert "stop NOT CONFIRMED" in text
    assert "RUNNING" not in text
    assert "4242" not in text


def run_with(**changes: Any) -> dict[str, Any]:
    status = full_status()
    return status | {"run": status["run"] | changes}


def test_every_screen_says_how_the_run_is_played() -> None:
    line = "seam     blend  speed 0.50  gap 3.1/12.4 mrad  acc 8.1:9.0  delay 112/41 ms"
    for width, height in SIZES[:-1]:
        assert line in [row.rstrip() for row in drawn(full_status(), width, height)]


def test_the_ways_from_chunk_to_chunk_are_compared_where_there_is_room() -> None:
    for width, height in ((80, 40), (120, 40), (200, 60)):
        text = "\n".join(drawn(full_status(), width, height))
        assert re.search(r"^ 1 switch +41 +3\.1 +12\.4 +8\.1 +9\.0 *$", text, re.MULTILINE)
        assert re.search(r"^>2 blend +41 ", text, re.MULTILINE), "the one in effect is marked"
        assert re.search(r"^ 4 rtc +0 +- +- +- +- *$", text, re.MULTILINE)
    assert "2 blend" not in "\n".join(drawn(full_status(), 80, 24))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_dry_run_and_less_than_was_asked_for_are_on_every_screen(width: int, height: int) -> None:
    less = run_with(seam_asked="rtc", seam_reason="the policy server does not offer rtc") | {"dry": True}
    lines = drawn(less, width, height)
    assert lines[0].startswith(" RUNNING    DRY RUN: nothing is command")
    assert (width < 80) or any(line.startswith("seam     blend INSTEAD OF rtc: the policy server") for line in lines)
    assert "DRY RUN" not in "\n".join(drawn(full_status(), width, height))


@pytest.mark.parametrize(
    ("key", "speed", "change"),
    [
        ("1", 0.5, {"seam": "switch"}),
        ("2", 0.5, {"seam": "blend"}),
        ("3", 0.5, {"seam": "ensemble"}),
        ("4", 0.5, {"seam": "rtc"}),
        ("+", 0.5, {"speed": 0.6}),
        ("-", 0.5, {"speed": 0.4}),
        ("+", 0.33, {"speed": 0.4}),
        ("-", 0.33, {"speed": 0.3}),
        ("+", 1.0, {"speed": 1.0}),
        ("-", 0.05, {"speed": 0.05}),
        ("5", 0.5, {}),
        ("x", 0.5, {}),
    ],
)
def test_what_a_key_changes(key: str, speed: float, change: dict[str, Any]) -> None:
    assert adjustment(key, run_with(speed=speed)) == change


def test_without_a_run_there_is_no_speed_to_change() -> None:
    for status in (None, {}, full_status() | {"run": None}):
        assert adjustment("+", status) == {}


def test_keys_lead_through_every_speed_to_either_end() -> None:
    for key, start, end in (("+", SPEED[0], SPEED[1]), ("-", SPEED[1], SPEED[0])):
        seen = [start]
        while seen[-1] != end:
            seen.append(adjustment(key, run_with(speed=seen[-1]))["speed"])
        assert len(seen) == len(set(seen)) == 11


class Terminal:
    """`pi0ctl watch` in a pseudo-terminal."""

    def __init__(self, path: Path) -> None:
        self._own, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 120, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self._theirs = theirs
        size = {"COLUMNS", "LINES"}  # they would count for more than the terminal's own
        environment = {name: value for name, value in os.environ.items() if name not in size}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "controller.cli", "--socket", str(path), "watch"],
            stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"},
        )  # fmt: skip
        self._seen = ""

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def wait_for(self, words: str) -> None:
        """Read on until `words` were drawn after the last ones waited for."""
        end_s = time.monotonic() + 20
        while words not in self._seen:
            assert time.monotonic() < end_s, f"{words!r} not drawn; last: {self._seen[-3000:]}"
            if select.select([self._own], [], [], 0.1)[0]:
                self._seen += os.read(self._own, 65536).decode(errors="ignore")
        self._seen = ""

    def end(self) -> int:
        """The exit code, once the terminal is as it was."""
        end_s = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < end_s:
            if select.select([self._own], [], [], 0.05)[0]:  # what nobody reads would block it
                os.read(self._own, 65536)
        assert termios.tcgetattr(self._theirs) == self.before
        return self.process.wait(timeout=0)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)
        os.close(self._theirs)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pi0-") as name:
        yield Path(name) / "c.sock"


def test_keys_in_a_terminal(socket_path: Path) -> None:
    with ServedOperations(socket_path) as daemon:
        terminal = Terminal(socket_path)
        try:
            terminal.wait_for(" IDLE ")
            for key, words in (("s", "stop: done"), (" ", "stop: done"), ("e", " FAULT ")):
                terminal.press(key)
                terminal.wait_for(words)
            terminal.press("\x1bOS\x1b[1;5e\x1b[sxq")  # function keys, whose letters are no commands
            assert terminal.end() == 0
        finally:
            terminal.close()
    assert [name for name, _ in daemon.operations.called] == ["stop", "stop", "estop"]


def test_keys_choose_seam_and_speed(socket_path: Path) -> None:
    with ServedOperations(socket_path) as daemon:
        daemon.operations.values |= full_status()
        daemon.operations.options = RunOptions(speed=0.5)
        terminal = Terminal(socket_path)
        try:
            terminal.wait_for(" RUNNING ")
            for key, words in (("3", "adjust: done, seam ensemble"), ("-", "speed 0.4"), ("-", "speed 0.3")):
                terminal.press(key)
                terminal.wait_for(words)
            daemon.operations.values |= {"state": "idle", "run": None}
            terminal.wait_for(" IDLE ")
            terminal.press("+")
            terminal.wait_for("adjust: no run, no speed")
            terminal.press("q")
            assert terminal.end() == 0
        finally:
            terminal.close()
    changes = [change for _, change in daemon.operations.called]
    assert changes == [(None, Seam.ENSEMBLE), (0.4, None), (0.3, None)]


def test_keys_work_while_the_daemon_hangs(socket_path: Path) -> None:
    with ServedOperations(socket_path) as daemon:
        daemon.operations.hang.add("stop")
        terminal = Terminal(socket_path)
        try:
            terminal.wait_for(" IDLE ")
            terminal.press("s")
            terminal.wait_for("stop: sent")
            terminal.press("e")
            terminal.wait_for("estop: done")
        finally:
            terminal.close()


def test_watch_survives_the_daemon(socket_path: Path) -> None:
    terminal = Terminal(socket_path)
    try:
        terminal.wait_for("no daemon at")
        for text in ("first life", "second life"):
            with ServedOperations(socket_path) as daemon:
                terminal.wait_for(" IDLE ")
                daemon.call(daemon.operations.bus.publish, "state", text)
                terminal.wait_for(text)
            terminal.wait_for("no daemon at")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    finally:
        terminal.close()
