"""The HTTP interface on the unix socket: routes, refusals, the event stream."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pwd
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_operations import FAULT, ServedOperations, full_status, raw

from controller import unix_socket
from controller.bodies import MAX_PROMPT_B
from controller.events import EventBus
from controller.refused import Refused
from controller.run_options import RunOptions, Seam
from controller.unix_socket import identify


@pytest.fixture
def daemon(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedOperations]:
    monkeypatch.setattr("controller.api.SHUTDOWN_TIMEOUT_S", 0.1)
    with ServedOperations(directory / "run" / "control.sock") as served:
        yield served


def test_index_lists_every_route(daemon: ServedOperations) -> None:
    code, _, answer = raw(daemon.path, "GET", "/")
    routes = {(route["method"], route["path"]) for route in answer["routes"]}
    commands = ("home", "jog", "run", "adjust", "stop", "estop", "reset", "reload", "shutdown", "scene")
    posts = {("POST", f"/{name}") for name in commands}
    assert code == 200
    assert routes == posts | {("GET", "/"), ("GET", "/status"), ("GET", "/events")}


def test_status_is_the_supervisors_own(daemon: ServedOperations) -> None:
    daemon.operations.values = full_status()
    assert raw(daemon.path, "GET", "/status")[::2] == (200, full_status())


@pytest.mark.parametrize(
    ("route", "body", "call"),
    [
        ("/home", None, ("home", 1.0)),
        ("/home", b"{}", ("home", 1.0)),
        ("/home", b'{"speed": 0.2}', ("home", 0.2)),
        ("/jog", b'{"joint": "right_joint_5", "by": -0.1}', ("jog", ("right_joint_5", -0.1, 0.1))),
        ("/jog", b'{"joint": "left_left_carriage_joint", "by": 0.01, "speed": 1}',
         ("jog", ("left_left_carriage_joint", 0.01, 1.0))),
        ("/run", '{"prompt": "lege das Feuerzeug in die Tasse, bitte schön"}'.encode(), None),
        ("/stop", b"not json at all", ("stop", None)),
        ("/reset", None, ("reset", None)),
        ("/shutdown", None, ("shutdown", None)),
        ("/scene", b'{"seed": 4294967295}', ("scene", 4294967295)),
        ("/adjust", b'{"speed": 1}', ("adjust", (1.0, None))),
        ("/adjust", b'{"seam": "rtc"}', ("adjust", (None, Seam.RTC))),
        ("/adjust", b'{"speed": 0.05, "seam": "switch"}', ("adjust", (0.05, Seam.SWITCH))),
    ],
)
def test_commands_reach_the_supervisor(daemon: ServedOperations, route: str, body: bytes | None, call: Any) -> None:
    code, _, answer = raw(daemon.path, "POST", route, body)
    assert code == 200
    assert answer == {
        "done": route[1:],
        **{key: daemon.operations.values[key] for key in ("state", "homed", "motion_id", "dry", "run")},
    }
    assert daemon.operations.called == [call or ("run", "lege das Feuerzeug in die Tasse, bitte schön")]


def test_estop_takes_any_body_and_names_the_peer(daemon: ServedOperations) -> None:
    code, _, answer = raw(daemon.path, "POST", "/estop", b"\xff{")
    ((name, who),) = daemon.operations.called
    assert (code, answer["state"], name) == (200, "fault", "estop")
    assert f"(uid {os.getuid()}, pid {os.getpid()})" in who


def test_stop_is_taken_while_another_command_waits(daemon: ServedOperations) -> None:
    daemon.operations.hang.add("run")
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(str(daemon.path))
        waiting.sendall(b'POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{"prompt":"x"}')
        while not daemon.operations.called:
            time.sleep(0.001)
        assert raw(daemon.path, "POST", "/stop")[0] == 200
    assert [name for name, _ in daemon.operations.called] == ["run", "stop"]


def test_refusal_says_why_and_what_is_allowed(daemon: ServedOperations) -> None:
    daemon.operations.refusal = Refused("not homed; home first", ["home"])
    code, _, answer = raw(daemon.path, "POST", "/run", b'{"prompt": "x"}')
    assert code == 409
    assert answer == {"error": "refused", "reason": "not homed; home first", "allowed": ["home"]}


@pytest.mark.parametrize(
    ("route", "body", "key", "reason"),
    [
        ("/run", b"{", "", "not JSON"),
        ("/run", b"\xff\xfe\xfd", "", "not JSON"),
        ("/run", b"[" * 10_000, "", "not JSON"),
        ("/run", b"[1]", "", "object, not list"),
        ("/run", b"", "prompt", "missing"),
        ("/run", b'{"prompt": 3}', "prompt", "text, not int"),
        ("/run", b'{"prompt": null}', "prompt", "text, not NoneType"),
        ("/run", b'{"prompt": "  "}', "prompt", "not empty"),
        ("/run", b'{"prompt": "a\\u001b[2J"}', "prompt", "printable"),
        ("/run", b'{"prompt": "\\ud800"}', "prompt", "printable"),
        ("/run", b'{"prompt": "' + "ö".encode() * 501 + b'"}', "prompt", "1002 bytes in UTF-8, at most 1000"),
        ("/run", b'{"prompt": "x", "haste": 1}', "haste", "keys: prompt, seam, speed, dry, execution_horizon"),
        ("/run", b'{"seam": "blend"}', "prompt", "missing"),
        ("/run", b'{"prompt": "x", "speed": 2}', "speed", "speed=2 must be a number from 0.05 to 1"),
        ("/run", b'{"prompt": "x", "speed": 0.049}', "speed", "speed=0.049 must be"),
        ("/run", b'{"prompt": "x", "speed": NaN}', "speed", "speed=nan must be"),
        ("/run", b'{"prompt": "x", "speed": true}', "speed", "speed=True must be"),
        ("/run", b'{"prompt": "x", "speed": null}', "speed", "speed=None must be"),
        ("/run", b'{"prompt": "x", "speed": 1' + b"0" * 400 + b"}", "speed", "must be a number from 0.05 to 1"),
        ("/run", b'{"prompt": "x", "seam": "BLEND"}', "seam", "seam='BLEND' must be one of switch, blend, ensemble"),
        ("/run", b'{"prompt": "x", "seam": 1}', "seam", "seam=1 must be one of"),
        ("/run", b'{"prompt": "x", "dry": 1}', "dry", "dry=1 must be true or false"),
        ("/run", b'{"prompt": "x", "execution_horizon": 128}', "execution_horizon", "a whole number from 0 to 127"),
        ("/run", b'{"prompt": "x", "execution_horizon": 5.0}', "execution_horizon", "execution_horizon=5.0 must be"),
        ("/adjust", b"", "", "nothing to adjust; give speed, seam or both"),
        ("/adjust", b'{"dry": false}', "dry", "possible keys: speed, seam"),
        ("/adjust", b'{"speed": 0}', "speed", "speed=0 must be a number from 0.05 to 1"),
        ("/home", b'{"fast": true}', "fast", "possible keys: speed"),
        ("/home", b'{"speed": 0}', "speed", "speed=0 must be a number from 0.05 to 1"),
        ("/jog", b'{"joint": "joint_1", "by": 0.1}', "joint", "joint='joint_1' must be one of left_joint_0,"),
        ("/jog", b'{"joint": ["left_joint_1"], "by": 0.1}', "joint", "must be one of left_joint_0,"),
        ("/jog", b'{"joint": "left_joint_1"}', "by", "by is missing"),
        ("/jog", b'{"joint": "left_joint_1", "by": NaN}', "by", "by=nan must be a number, at most 0.1 rad"),
        ("/jog", b'{"joint": "left_joint_1", "by": 0.11}', "by", "by=0.11 must be"),
        ("/jog", b'{"joint": "left_joint_1", "by": 0}', "by", "and not by 0"),
        ("/jog", b'{"joint": "left_left_carriage_joint", "by": 0.02}', "by", "jogs by at most 0.01 m"),
        ("/scene", b'{"seed": true}', "seed", "seed=True must be a whole number"),
        ("/scene", b'{"seed": 1.0}', "seed", "seed=1.0 must be a whole number"),
        ("/scene", b'{"seed": -1}', "seed", "from 0 to 4294967295"),
        ("/scene", b'{"seed": 4294967296}', "seed", "from 0 to 4294967295"),
    ],
)
def test_bad_bodies_name_key_and_bound(
    daemon: ServedOperations, route: str, body: bytes, key: str, reason: str
) -> None:
    code, _, answer = raw(daemon.path, "POST", route, body)
    assert (code, answer["error"], answer["key"]) == (400, "bad request", key)
    assert reason in answer["reason"]
    assert daemon.operations.called == []


def test_longest_prompt_is_taken(daemon: ServedOperations) -> None:
    prompt = "ö" * (MAX_PROMPT_B // 2)
    assert raw(daemon.path, "POST", "/run", json.dumps({"prompt": prompt}).encode())[0] == 200
    assert daemon.operations.called == [("run", prompt)]


def test_what_a_run_does_not_say_is_as_usual(daemon: ServedOperations) -> None:
    usual = daemon.operations.usual_options()
    assert raw(daemon.path, "POST", "/run", b'{"prompt": "x"}')[0] == 200
    assert daemon.operations.options == usual
    body = {"prompt": "x", "seam": "rtc", "speed": 0.3, "dry": True, "execution_horizon": 127}
    code, _, answer = raw(daemon.path, "POST", "/run", json.dumps(body).encode())
    assert (code, answer["dry"], answer["run"]["seam"], answer["run"]["seam_asked"]) == (200, True, "blend", "rtc")
    assert daemon.operations.options == RunOptions(Seam.RTC, 0.3, dry=True, execution_horizon=127)
    assert raw(daemon.path, "POST", "/run", b'{"prompt": "x", "dry": false, "execution_horizon": 0}')[0] == 200
    assert daemon.operations.options == RunOptions(usual.seam)


def test_the_list_of_routes_says_what_may_be_left_out(daemon: ServedOperations) -> None:
    body = {route["path"]: route["body"] for route in raw(daemon.path, "GET", "/")[2]["routes"]}
    assert body["/run"]["prompt"] == "printable text of 1 to 1000 bytes"
    assert body["/run"]["speed"] == body["/adjust"]["speed"] == "a number from 0.05 to 1; may be left out"
    assert body["/stop"] is body["/reset"] is None


def test_unknown_paths_methods_and_floods_answer_in_json(daemon: ServedOperations) -> None:
    code, _, answer = raw(daemon.path, "GET", "/nothing")
    assert (code, answer["error"]) == (404, "not found")
    code, headers, answer = raw(daemon.path, "GET", "/stop")
    assert (code, headers["Allow"], answer["error"]) == (405, "POST", "method not allowed")
    assert raw(daemon.path, "POST", "/run", b" " * 20_000)[0] == 413
    assert raw(daemon.path, "GET", "/events?replay=yes")[0] == 400
    assert daemon.operations.called == []


def test_commands_are_logged_with_their_peer(daemon: ServedOperations, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "controller.api")
    daemon.operations.refusal = Refused('no "policy"', [])
    raw(daemon.path, "POST", "/home")
    raw(daemon.path, "GET", "/status")
    peer = rf"pid={os.getpid()} uid={os.getuid()} gid={os.getgid()} user=\S+"
    taken, refused = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(rf"command=home {peer}", taken)
    assert re.fullmatch(rf'command=home {peer} refused="no \\"policy\\""', refused)


def test_what_became_of_a_command_that_was_not_carried_out_is_logged(
    daemon: ServedOperations, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "controller.api")
    assert raw(daemon.path, "POST", "/run", b'{"prompt": 7}')[0] == 400
    daemon.operations.refusal = TimeoutError("it did not begin")
    assert raw(daemon.path, "POST", "/home")[0] == 504
    _, malformed, _, late = caplog.records
    assert "command=run" in malformed.getMessage()
    assert "refused=" in malformed.getMessage()
    assert late.getMessage().endswith('timeout="it did not begin"')
    assert late.levelno == logging.ERROR


def test_peer_has_a_name_and_a_slow_directory_does_not_delay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    released = asyncio.Event()

    async def run() -> None:
        here, there = socket.socketpair(socket.AF_UNIX)
        with here, there:
            monkeypatch.setattr(unix_socket, "NAME_TIMEOUT_S", 10)
            named = await identify(here)
            assert named.user == pwd.getpwuid(os.getuid()).pw_name
            assert (named.pid, named.uid, named.gid) == (os.getpid(), os.getuid(), os.getgid())
            loop = asyncio.get_running_loop()
            monkeypatch.setattr(
                unix_socket,
                "user_name",
                lambda _uid: asyncio.run_coroutine_threadsafe(released.wait(), loop).result(),
            )
            monkeypatch.setattr(unix_socket, "NAME_TIMEOUT_S", 0.01)
            assert (await identify(here)).user == str(os.getuid())
            released.set()

    asyncio.run(run())


class Stream:
    """A reader of /events."""

    def __init__(self, path: Path, query: str = "") -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(10)
        self._connection.connect(str(path))
        self._connection.sendall(f"GET /events{query} HTTP/1.0\r\n\r\n".encode())
        self._file = self._connection.makefile("rb")
        while self._file.readline() not in (b"\r\n", b""):
            pass

    def read(self) -> dict[str, Any] | None:
        line = self._file.readline()
        return json.loads(line) if line else None

    def read_to_the_end(self) -> int:
        """How many whole lines were still to be had before the daemon cut the connection."""
        try:
            return sum(1 for _ in self._file)
        except ConnectionError:
            return 0

    def close(self) -> None:
        self._file.close()
        self._connection.close()


def test_events_arrive_live_and_replayed(daemon: ServedOperations) -> None:
    daemon.call(daemon.operations.bus.publish, "state", "first", state="idle")
    live, replayed = Stream(daemon.path), Stream(daemon.path, "?replay=1")
    daemon.call(daemon.operations.bus.publish, "fault", "second", code=FAULT["code"])
    first, second = replayed.read(), replayed.read()
    assert first is not None
    assert (first["kind"], first["text"], first["state"]) == ("state", "first", "idle")
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert second == live.read()
    assert second is not None
    assert second["code"] == "PLAN_ENDED"
    assert first["t_ns"] <= second["t_ns"]
    live.close()
    replayed.close()


def test_a_reader_that_does_not_read_is_dropped_and_delays_nobody(daemon: ServedOperations) -> None:
    slow, good = Stream(daemon.path), Stream(daemon.path)
    for number in range(2000):  # far more than the queue, the transport and the kernel hold
        daemon.call(daemon.operations.bus.publish, "state", f"{number} " + "x" * 2000)
        event = good.read()
        assert event is not None
        assert event["text"].startswith(f"{number} ")
    assert slow.read_to_the_end() < 1000
    assert daemon.operations.bus.readers == 1
    slow.close()
    good.close()


def test_a_reader_that_leaves_is_forgotten(daemon: ServedOperations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.api.GONE_PERIOD_S", 0.01)
    stream = Stream(daemon.path)
    assert daemon.operations.bus.readers == 1
    stream.close()
    for _ in range(1000):
        if daemon.operations.bus.readers == 0:
            return
        time.sleep(0.01)
    pytest.fail("the subscription of a closed connection is still there")


def test_streams_end_with_the_daemon(directory: Path) -> None:
    with ServedOperations(directory / "c.sock") as served:
        stream = Stream(served.path)
    assert stream.read() is None
    stream.close()


def test_bus_keeps_the_newest_and_drops_the_slow() -> None:
    async def run() -> None:
        ticks = iter(range(100))
        bus = EventBus(kept=2, queue=3, monotonic_ns=lambda: next(ticks), now=lambda: datetime(2026, 1, 2, tzinfo=UTC))
        for number in range(4):
            bus.publish("n", str(number))
        dropped = []
        async with bus.subscribe() as slow, bus.subscribe() as other:
            slow.on_drop = lambda: dropped.append(True)
            assert [event["text"] for event in slow.kept] == ["2", "3"]
            assert slow.kept[0] == {"t_ns": 2, "time": "2026-01-02T00:00:00.000+00:00", "kind": "n", "text": "2"}
            for number in range(4):
                bus.publish("n", str(number))
                assert (await anext(other))["text"] == str(number)
            assert dropped == [True]
            assert [event async for event in slow] == []
        with pytest.raises(TypeError, match="t_ns"):
            bus.publish("n", "x", t_ns=1)

    asyncio.run(run())
