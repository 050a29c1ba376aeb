"""What the doctor gathers: from this kernel, from policy servers that run; and the command as a whole."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from fake_operations import ServedOperations, full_status
from server_rig import EchoPolicy, serving
from synthetic import sim_config

from controller.cli import Exit, main
from controller.config import Realtime, load, shipped
from controller.config_robot import both_arms
from controller.doctor import examine, machine_facts, network_facts, server_facts
from controller.findings import Level
from policy_server.protocol import StateStatistics

REAL = load(shipped("trossen_stationary"))
HOME = both_arms(sim_config().robot.homing.pose)


def config_for(url: str, **policy: Any) -> Any:
    config = sim_config()
    return config.model_copy(update={"policy": config.policy.model_copy(update={"url": url} | policy)})


def test_this_machine_tells_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_facts, "STEAL_S", 0.02)
    found = machine_facts.machine(sim_config(), None)
    assert found.kernel
    assert found.cpus >= 1
    assert found.clocksource
    assert found.shm_needed_b > 4 * 640 * 480 * 3
    assert 0 < found.memory_free_b < 1e14


@pytest.mark.parametrize(
    ("text", "cpus"), [("", set()), ("3", {3}), ("2-3,6", {2, 3, 6}), ("0-1,4-5", {0, 1, 4, 5})]
)
def test_sets_of_cpus_as_the_kernel_writes_them(text: str, cpus: set[int]) -> None:
    assert machine_facts.cpu_list(text) == cpus


def test_the_tightest_of_all_cgroups_above_counts(tmp_path: Path) -> None:
    below = tmp_path / "system.slice" / "pi0.service"
    below.mkdir(parents=True)
    assert machine_facts.cgroup("0::/system.slice/pi0.service\n", tmp_path) == (None, None)
    (below / "cpu.max").write_text("max 100000\n")
    (below / "memory.max").write_text("8000000000\n")
    (below.parent / "cpu.max").write_text("150000 100000\n")
    (below.parent / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text("4000000000\n")
    told = "4:memory:/elsewhere\n0::/system.slice/pi0.service\n"
    assert machine_facts.cgroup(told, tmp_path) == (1.5, 4_000_000_000)
    assert machine_facts.cgroup("", tmp_path) == (None, None)


def test_stolen_time_is_a_share_of_all_time() -> None:
    before = psutil.cpu_times()
    assert machine_facts.steal(before, before) is None
    after = before._replace(user=before.user + 6.0, idle=before.idle + 3.0, steal=before.steal + 1.0)
    assert machine_facts.steal(before, after) == pytest.approx(10.0)


def test_a_disk_is_written_to_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_facts, "WRITTEN_B", 2 << 20)
    disk = machine_facts.disk(tmp_path / "not" / "there", write=True)
    assert (disk.directory, disk.error) == (str(tmp_path / "not" / "there"), "")
    assert disk.free_b > 0
    assert disk.rate is not None
    assert disk.rate > 0
    assert list(tmp_path.iterdir()) == []
    assert machine_facts.disk(tmp_path, write=False).rate is None


def test_a_disk_that_refuses_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_directory: Path) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine_facts, "_writing", refuse)
    assert machine_facts.disk(tmp_path, write=True).error == "Permission denied"


def test_rights_are_tried_by_a_child_and_leave_this_process_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    rights = machine_facts.rights(Realtime(motor_priority=7, control_priority=5, supervisor_priority=3))
    told = [*rights.granted, *rights.refused]
    assert len(told) == 2
    assert told[0].startswith("mlockall")
    assert any(text.startswith("fifo 7") for text in told)
    assert 0.0 <= rights.late_p99_us <= rights.late_max_us < math.inf
    assert os.sched_getscheduler(0) == before


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("LoadState=loaded\nLimitRTPRIO=40\nLimitMEMLOCK=infinity\n", "LimitRTPRIO=40, LimitMEMLOCK=infinity"),
        ("LoadState=loaded\nLimitRTPRIO=20\nLimitMEMLOCK=infinity\n", ""),
        ("LoadState=loaded\nLimitRTPRIO=40\nLimitMEMLOCK=8388608\n", ""),
        ("LoadState=not-found\nLimitRTPRIO=40\nLimitMEMLOCK=infinity\n", ""),
        ("", ""),
    ],
)
def test_the_rights_of_the_installed_service(told: str, words: str) -> None:
    assert machine_facts.unit_limits(told, 30) == words


def test_the_way_to_this_machine_is_its_loopback() -> None:
    route = network_facts.route("ws://127.0.0.1:8000")
    assert (route.interface, route.local, route.send_buffer_b > 0) == ("lo", True, True)
    with pytest.raises(OSError, match=r"\S"):
        network_facts.route("ws://no-such-host.invalid:8000")


def test_a_server_is_measured_and_not_asked_for_anything() -> None:
    policy = EchoPolicy()
    with serving(policy) as port:
        server = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), None, infer=False)
        again = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), None, infer=False)
    assert policy.seen == []
    assert server.error == again.error == ""
    assert server.info is not None
    assert server.info.policy == "echo"
    assert len(server.round_trips_ms) == server_facts.PINGS
    assert len(server.request_ms) == server_facts.PARTS - 1
    assert server.request_b > 4 * 3 * 224 * 224


def test_a_server_is_asked_a_few_times_where_that_was_wanted() -> None:
    policy = EchoPolicy()
    with serving(policy) as port:
        server = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), HOME + 0.001, infer=True)
    assert server.inference is not None
    assert server.inference.error == ""
    assert len(server.inference.round_trips_ms) == len(server.inference.inference_ms) == server_facts.INFERENCES
    assert [set(asked) for asked in policy.seen] == [{"state", "images", "prompt"}] * server_facts.INFERENCES
    np.testing.assert_array_equal(policy.seen[0]["state"], HOME + 0.001)
    assert policy.seen[0]["images"]["cam_high"].shape == (3, 224, 224)
    assert len(server.request_ms) == server_facts.PARTS - 1


def test_answers_that_no_run_would_take_are_told() -> None:
    policy = EchoPolicy()
    with serving(policy) as port:
        server = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), np.full(14, 9.0), infer=True)
    assert server.inference is not None
    assert "lies outside" in server.inference.error


def test_a_server_that_is_not_there_or_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_facts, "METADATA_S", 0.3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = server_facts.ask(config_for(f"ws://127.0.0.1:{taken.getsockname()[1]}"), None, infer=False)
    assert (server.info, "111" in server.error) == (None, True)
    policy = EchoPolicy()
    policy.warm.clear()
    with serving(policy) as port:
        warming = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), None, infer=False)
        policy.warm.set()
    assert (warming.info, warming.error) == (None, "no metadata within 0.3 s; perhaps it is still warming up")


def test_a_key_that_this_user_may_not_read_is_no_answer_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    config = config_for("ws://127.0.0.1:1", api_key_file=str(tmp_path / "key"))
    monkeypatch.setattr(Path, "open", refuse)  # tests run as root, too
    told = server_facts.ask(config, None, infer=False)
    assert (told.info, told.allowed) == (None, False)
    assert told.error == f"policy.api_key_file {tmp_path / 'key'} is another user's: Permission denied"


def test_where_the_daemon_writes_as_another_user_nothing_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(machine_facts, "_writing", lambda directory: asked.append(directory) or 1e9)
    status = {"state": "idle", "recorder": {"faults": str(tmp_path / "faults")}}
    examine._disk(sim_config(), status)  # noqa: SLF001
    monkeypatch.setattr("os.access", lambda *_: False)
    (free,) = examine._disk(sim_config(), status)  # noqa: SLF001
    assert free.subject == "recordings"
    assert asked == [tmp_path]


def test_statistics_come_over_the_wire() -> None:
    policy = EchoPolicy()
    policy.info = dataclasses.replace(policy.info, state_statistics=StateStatistics((0.5,) * 14, (0.1,) * 14))
    with serving(policy) as port:
        server = server_facts.ask(config_for(f"ws://127.0.0.1:{port}"), None, infer=False)
    assert server.info is not None
    assert server.info.state_statistics == policy.info.state_statistics


def test_an_area_that_cannot_be_looked_at_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the kernel is silent")

    monkeypatch.setattr(machine_facts, "machine", broken)
    sections = {section.name: section.findings for section in examine.examine(sim_config(), full_status(), infer=False)}
    first = sections["machine"][0]
    assert (first.level, first.text) == (Level.FAIL, "could not be looked at: the kernel is silent")
    assert [finding.subject for finding in sections["cameras"]][:1] == ["cam_high"]
    assert list(sections) == ["daemon", "machine", "network", "policy server", "cameras", "arms"]


def doctor(socket_path: Path, *arguments: str) -> int:
    return main(["--socket", str(socket_path), "doctor", *arguments])


def test_without_a_daemon_it_needs_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path / "none") == Exit.USAGE
    assert "say --config FILE" in capsys.readouterr().err
    assert doctor(tmp_path / "none", "--config", str(tmp_path / "x.toml")) == Exit.USAGE
    assert "cannot be read" in capsys.readouterr().err
    assert doctor(tmp_path / "none", "--config", "sim", "--server", "http://x") == Exit.USAGE
    assert "must start with ws://" in capsys.readouterr().err


def test_a_daemon_that_may_not_be_asked_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its arms and cameras would be taken from under it."""

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refused)
    assert doctor(tmp_path / "s", "--config", "trossen_stationary") == Exit.REFUSED
    assert "you may not use" in capsys.readouterr().err


@pytest.mark.parametrize("child", examine.CHILDREN)
def test_the_devices_of_a_daemon_elsewhere_are_not_touched(child: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def process(*command: str) -> Any:
        return SimpleNamespace(pid=4711, info={"cmdline": list(command) or None})

    def inspect(*_: Any) -> Any:
        raise AssertionError("touched")

    running = [process(), process("python", "x"), process(child)]
    monkeypatch.setattr(examine.psutil, "process_iter", lambda _fields: running)
    monkeypatch.setattr(examine.factory, "inspect", inspect)
    monkeypatch.setattr(examine.camera, "inspect", inspect)
    monkeypatch.setattr(machine_facts, "STEAL_S", 0.0)
    here = REAL.model_copy(update={"policy": config_for("ws://127.0.0.1:1").policy})
    found = {section.name: section.findings for section in examine.examine(here, None, infer=False)}
    for section in ("cameras", "arms"):
        assert (found[section][-1].level, "pid 4711" in found[section][-1].text) == (Level.FAIL, True)


def test_the_command_before_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The simulation on this machine, its policy server given by another address."""
    with serving(EchoPolicy()) as port:
        code = doctor(tmp_path / "none", "--config", "sim", "--server", f"ws://127.0.0.1:{port}", "--json")
    told = json.loads(capsys.readouterr().out)
    sections = {section["name"]: section["findings"] for section in told["sections"]}
    assert list(sections) == ["daemon", "machine", "network", "policy server", "cameras", "arms"]
    assert [finding["level"] for finding in sections["cameras"] + sections["arms"]] == ["ok"] * 5
    assert sections["policy server"][0]["text"].startswith(f"ws://127.0.0.1:{port}: ")
    assert {"real time", "CPU wake-up", "wake-ups"} <= {finding["subject"] for finding in sections["machine"]}
    levels = {finding["level"] for findings in sections.values() for finding in findings}
    assert code == (Exit.REFUSED if "fail" in levels else Exit.DONE)


def test_beside_a_daemon_cameras_and_arms_are_the_daemons(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="pi0-") as name, ServedOperations(Path(name) / "c.sock") as daemon:
        daemon.operations.values |= {"config": "sim"}
        daemon.operations.values["cameras"]["cam_low"]["alive"] = False
        assert doctor(daemon.path) == Exit.REFUSED
        assert [called for called, _ in daemon.operations.called] == []
    out = capsys.readouterr().out
    assert "its process is lost" in out
    assert "29.97 of 30 Hz" in out
    assert "readings at rate" in out
    assert "\x1b" not in out
