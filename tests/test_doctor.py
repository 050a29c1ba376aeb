"""The doctor's judgments, on facts that are made up."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from fake_operations import full_status, nulled
from rich.console import Console

from controller.config import load, shipped
from controller.config_robot import both_arms
from controller.doctor import daemon, machine, network, server
from controller.doctor.report import Section, all_of, described, shown, verdict
from controller.findings import Finding, Level, worst
from policy_server.protocol import RTC, ServerInfo, StateStatistics

SIM = load(shipped("sim"))
HOME = both_arms(SIM.robot.homing.pose)

MACHINE = machine.Machine(
    kernel="6.1.0-rt", realtime_kernel=True, virtual=False, cpus=8, isolated=frozenset({6, 7}),
    governors=frozenset({"performance"}), smt=False, clocksource="tsc", load=0.4, steal_percent=0.0,
    memory_free_b=12 * 10**9, memory_limit_b=None, cpu_quota=None, shm_free_b=10**9, shm_needed_b=3 * 10**7,
)  # fmt: skip
ROUTE = network.Route(
    host="gpu", address="192.168.2.10", interface="eth1", speed_mbit=10_000, full_duplex=True, mtu=9000,
    wireless=False, packets_in=10**6, lost_in=3, send_buffer_b=1 << 22, slow_start_after_idle=False,
)  # fmt: skip
ARMS = both_arms((1.0,) * 6 + (0.02,))
STATISTICS = StateStatistics(tuple(HOME), tuple(0.2 * ARMS), tuple(HOME - 0.3 * ARMS), tuple(HOME + 0.3 * ARMS))
INFO = ServerInfo(
    server="pi0 0.1", policy="x", cameras=("cam_high",), action_rate_hz=50.0, action_horizon=50,
    state_statistics=STATISTICS, extensions=frozenset({RTC}),
)  # fmt: skip
SERVER = server.Server("ws://gpu:8000", "", INFO, (0.4, 0.5), 602_112, (5.2, 5.4))


def named(findings: list[Finding], subject: str) -> Finding:
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def test_a_machine_that_is_as_it_should_be() -> None:
    found = machine.judge(MACHINE, real=True, pinned=(6, 7))
    assert worst(found) is Level.OK
    assert all(not finding.next_step for finding in found)


@pytest.mark.parametrize(
    ("changes", "subject", "level", "text"),
    [
        ({"realtime_kernel": False}, "kernel", Level.WARN, "not PREEMPT_RT"),
        ({"virtual": True}, "kernel", Level.WARN, "virtual machine"),
        ({"cpus": 2}, "CPUs", Level.WARN, "2 (at least 4)"),
        ({"governors": frozenset({"performance", "powersave"})}, "CPU governor", Level.WARN, "performance, powersave"),
        ({"governors": frozenset()}, "CPU governor", Level.OK, "none"),
        ({"clocksource": "hpet"}, "clock source", Level.WARN, "hpet"),
        ({"load": 6.0}, "load", Level.WARN, "6.0 of 8 CPUs (at most 5.6)"),
        ({"steal_percent": 0.6}, "load", Level.WARN, "stolen by a host 0.6 % (at most 0.5)"),
        ({"steal_percent": None}, "load", Level.OK, "0.4 of 8"),
        ({"memory_free_b": 10**9}, "memory", Level.FAIL, "1.0 GB free (at least 2.0 GB)"),
        ({"memory_limit_b": 512 * 10**6}, "memory", Level.FAIL, "512 MB free (at least 2.0 GB), limited by a cgroup"),
        ({"cpu_quota": 1.5}, "CPU quota", Level.FAIL, "1.5 CPUs"),
        ({"shm_free_b": 2 * 10**7}, "/dev/shm", Level.FAIL, "20 MB free (at least 30 MB)"),
    ],
)
def test_what_a_machine_lacks_is_told_with_number_bound_and_next_step(
    changes: dict[str, Any], subject: str, level: Level, text: str
) -> None:
    found = named(machine.judge(dataclasses.replace(MACHINE, **changes), real=True, pinned=()), subject)
    assert (found.level, text in found.text) == (level, True), found
    assert bool(found.next_step) is (level is not Level.OK)


def test_a_simulation_needs_no_special_kernel() -> None:
    plain = dataclasses.replace(MACHINE, realtime_kernel=False, virtual=True, cpus=2)
    assert worst(machine.judge(plain, real=False, pinned=())) is Level.OK
    assert worst(machine.judge(plain, real=True, pinned=())) is Level.WARN


@pytest.mark.parametrize(("cpu", "level"), [(6, Level.OK), (1, Level.WARN), (8, Level.FAIL)])
def test_a_pinned_cpu_exists_and_is_isolated(cpu: int, level: Level) -> None:
    assert named(machine.judge(MACHINE, real=True, pinned=(cpu,)), f"CPU {cpu}").level is level


def test_rights_that_are_refused_fail_where_arms_move_or_they_are_required() -> None:
    lacking = machine.Rights(("mlockall",), ("fifo 30 (Operation not permitted)",), True, 80.0, 300.0, "anna")
    for real, required, level in ((True, False, Level.FAIL), (False, True, Level.FAIL), (False, False, Level.WARN)):
        found = named(machine.judge_rights(lacking, real=real, required=required), "real time")
        assert found.level is level
        assert found.text == "mlockall, NOT fifo 30 (Operation not permitted)"
        assert "give anna the limits rtprio 40" in found.next_step
    served = dataclasses.replace(lacking, unit="LimitRTPRIO=40, LimitMEMLOCK=infinity")
    found = named(machine.judge_rights(served, real=True, required=True), "real time")
    assert (found.level, found.text.startswith("the service is given LimitRTPRIO=40")) == (Level.OK, True)


@pytest.mark.parametrize(("p99_us", "level"), [(999.0, Level.OK), (1001.0, Level.WARN), (5001.0, Level.FAIL)])
def test_late_wake_ups(p99_us: float, level: Level) -> None:
    assert machine.judge_lateness("wake-ups", p99_us, 6000.0).level is level


def test_cpus_that_may_sleep_deeply_are_told() -> None:
    rights = machine.Rights(("mlockall", "fifo 30"), (), False, 80.0, 300.0)
    assert named(machine.judge_rights(rights, real=True, required=True), "CPU wake-up").level is Level.WARN
    allowed = dataclasses.replace(rights, awake_group="pi0-controller")
    assert named(machine.judge_rights(allowed, real=True, required=True), "CPU wake-up").level is Level.OK


def test_disks() -> None:
    good = machine.Disk("/rec", 10**12, 5e8)
    assert worst(machine.judge_disk(good)) is Level.OK
    assert named(machine.judge_disk(dataclasses.replace(good, free_b=10**9)), "recordings").level is Level.WARN
    slow = named(machine.judge_disk(dataclasses.replace(good, rate=1e7)), "disk")
    assert (slow.level, slow.text) == (Level.WARN, "10 MB/s (at least 20)")
    assert [f.subject for f in machine.judge_disk(dataclasses.replace(good, rate=None))] == ["recordings"]
    (refused,) = machine.judge_disk(machine.Disk("/rec", 0, None, "Permission denied"))
    assert (refused.level, refused.text) == (Level.WARN, "/rec: Permission denied")


def test_a_cable_of_ten_gigabits() -> None:
    found = network.judge(ROUTE, 602_112)
    assert worst(found) is Level.OK
    assert "0.5 ms for a request's 602 kB" in named(found, "way to the server").text


@pytest.mark.parametrize(
    ("changes", "subject", "text"),
    [
        ({"speed_mbit": 100}, "way to the server", "100 Mbit/s (at least 1000), full duplex, MTU 9000: 48.2 ms"),
        ({"full_duplex": False}, "way to the server", "HALF duplex"),
        ({"mtu": 1400}, "way to the server", "MTU 1400"),
        ({"wireless": True}, "way to the server", "wireless"),
        ({"lost_in": 200}, "packets", "200 of 1000000 lost"),
        ({"send_buffer_b": 1 << 18}, "send buffer", "at most 262144 B (at least 1048576)"),
        ({"slow_start_after_idle": True}, "TCP after a pause", "starts slowly"),
    ],
)
def test_what_the_network_lacks(changes: dict[str, Any], subject: str, text: str) -> None:
    found = named(network.judge(dataclasses.replace(ROUTE, **changes), 602_112), subject)
    assert found.level is Level.WARN
    assert text in found.text


def test_a_server_on_this_machine_needs_no_network() -> None:
    (found,) = network.judge(dataclasses.replace(ROUTE, interface="lo", speed_mbit=0, slow_start_after_idle=True), 1)
    assert found.level is Level.OK


def test_an_interface_that_does_not_tell_its_speed_is_not_blamed() -> None:
    found = named(network.judge(dataclasses.replace(ROUTE, speed_mbit=0, mtu=1400), 1), "way to the server")
    assert (found.level, "does not tell its speed" in found.text) == (Level.OK, True)


def test_our_own_server_at_the_right_robot() -> None:
    found = server.judge(SERVER, SIM, HOME + 0.1 * ARMS)
    assert worst(found) is Level.OK
    assert named(found, "request").text == "602 kB in 5.3 ms (bound 15), 114 MB/s"
    assert "present pose: " in named(found, "trained on").text


def test_a_server_that_is_not_there() -> None:
    (found,) = server.judge(server.Server("ws://gpu:8000", "Connection refused"), SIM, None)
    assert (found.level, found.text) == (Level.FAIL, "ws://gpu:8000: Connection refused")


def test_a_server_whose_key_is_another_user_s_is_not_blamed() -> None:
    told = server.Server("ws://gpu:8000", "policy.api_key_file /k is another user's", allowed=False)
    (found,) = server.judge(told, SIM, None)
    assert (found.level, found.text) == (Level.WARN, f"ws://gpu:8000: not asked: {told.error}")
    assert "sudo pi0ctl doctor" in found.next_step


def test_a_stock_server_is_told_for_what_it_does_not_say() -> None:
    found = server.judge(dataclasses.replace(SERVER, info=ServerInfo()), SIM, HOME)
    assert "a stock server" in named(found, "policy server").text
    assert named(found, "action rate").level is Level.WARN
    assert "a stock server never does" in named(found, "trained on").text
    assert "cameras as configured: it does not say" in named(found, "what it wants").text
    assert worst(found) is Level.WARN


@pytest.mark.parametrize(
    ("changes", "subject", "level", "text"),
    [
        ({"cameras": ("cam_top",)}, "what it wants", Level.FAIL, "the server wants camera cam_top"),
        ({"joint_names": ("a",)}, "what it wants", Level.FAIL, "1 joints are not this robot's 14"),
        ({"state_statistics": StateStatistics((0.0,), (1.0,))}, "trained on", Level.FAIL, "states of 1 numbers"),
    ],
)
def test_a_server_for_another_robot_fails(changes: dict[str, Any], subject: str, level: Level, text: str) -> None:
    info = dataclasses.replace(INFO, **changes)
    found = named(server.judge(dataclasses.replace(SERVER, info=info), SIM, HOME), subject)
    assert (found.level, text in found.text) == (level, True), found


def trained(mean: Any, std: float, spread: float | None, q: Any) -> Finding:
    mean = np.asarray(mean)
    quantiles = () if spread is None else (tuple(mean - spread * ARMS), tuple(mean + spread * ARMS))
    info = dataclasses.replace(INFO, state_statistics=StateStatistics(tuple(mean), tuple(std * ARMS), *quantiles))
    return named(server.judge(dataclasses.replace(SERVER, info=info), SIM, q), "trained on")


def test_data_in_degrees_lie_outside_the_limits_and_fail() -> None:
    found = trained(np.degrees(HOME), 20.0, None, HOME)
    assert (found.level, "do not run" in found.next_step) == (Level.FAIL, True)
    assert "left_joint_1" in found.text
    assert trained(HOME, 0.2, 40.0, HOME).level is Level.FAIL


@pytest.mark.parametrize(
    ("away", "known", "level"),
    [(0.9, True, Level.OK), (1.2, True, Level.WARN), (2.2, True, Level.WARN), (0.0, False, Level.OK)],
)
def test_a_pose_far_from_all_training_data(away: float, known: bool, level: Level) -> None:
    q = HOME.copy()
    q[8] += away
    found = trained(HOME, 0.2, 0.3, q if known else None)
    assert found.level is level
    assert ("right_joint_1" in found.text) is (away > 0)
    assert found.text.startswith("present pose" if known else "home pose")


@pytest.mark.parametrize("known", [True, False])
def test_a_home_far_from_all_training_data_is_another_robots(known: bool) -> None:
    mean = HOME.copy()
    mean[3] -= 1.2
    found = trained(mean, 0.1, 0.2, HOME if known else None)
    assert (found.level, "left_joint_3" in found.text, "do not run" in found.next_step) == (Level.FAIL, True, True)
    assert trained(mean, 0.15, 0.2, HOME if known else None).level is Level.WARN


def test_a_joint_that_never_moved_in_training_may_stand_a_little_elsewhere() -> None:
    assert trained(HOME, 0.0, 0.0, HOME + 0.004).level is Level.OK


def test_slow_and_silent_servers() -> None:
    slow = dataclasses.replace(SERVER, round_trips_ms=(9.0,), request_ms=(40.0,))
    found = server.judge(slow, SIM, None)
    assert named(found, "round trip").level is Level.WARN
    assert "image_encoding = 'jpeg'" in named(found, "request").next_step
    silent = dataclasses.replace(SERVER, round_trips_ms=(), request_ms=())
    assert [named(server.judge(silent, SIM, None), s).level for s in ("round trip", "request")] == [Level.WARN] * 2


def test_a_seam_that_is_configured_and_not_offered() -> None:
    rtc = SIM.model_copy(update={"control": SIM.control.model_copy(update={"seam": "rtc"})})
    assert named(server.judge(SERVER, rtc, None), "seam").level is Level.OK
    without = dataclasses.replace(SERVER, info=dataclasses.replace(INFO, extensions=frozenset()))
    assert named(server.judge(without, rtc, None), "seam").level is Level.WARN


@pytest.mark.parametrize(
    ("inference", "level", "text"),
    [
        (server.Inference((80.0, 90.0, 85.0), (70.0, 71.0)), Level.OK, "85 ms there and back (bound 200), 70 ms of it"),
        (server.Inference((300.0,), ()), Level.WARN, "300 ms there and back (bound 200)"),
        (server.Inference((), (), "action 0 of left_joint_1 is nan"), Level.FAIL, "left_joint_1 is nan"),
    ],
)
def test_inference(inference: server.Inference, level: Level, text: str) -> None:
    found = named(server.judge(dataclasses.replace(SERVER, inference=inference), SIM, None), "inference")
    assert (found.level, text in found.text) == (level, True), found


def test_a_healthy_daemon() -> None:
    status = full_status()
    found = [*daemon.daemon(status, real=True), *daemon.cameras(status), *daemon.arms(status)]
    assert worst(found) is Level.OK
    assert {"cam_high", "joints", "control ticks", "motor ticks", "real time"} <= {finding.subject for finding in found}


def test_a_status_in_which_nothing_is_known_is_no_crash_and_not_well() -> None:
    status = nulled(full_status())
    assert worst([*daemon.daemon(status, real=True), *daemon.cameras(status), *daemon.arms(status)]) is Level.FAIL


def test_what_a_daemon_suffers() -> None:
    status = full_status()
    status["processes"]["motor"]["alive"] = False
    status["processes"]["guard"]["realtime"] = "NOT fifo 20 (Operation not permitted)"
    status["cameras"]["cam_low"]["at_rate"] = False
    status["inputs"]["cam_high"]["reason"] = "shows the same picture"
    status["robot"]["contact"] = "off"
    status["fault"] = {"message": "contact", "next_step": "free the arm"}
    own, cameras = daemon.daemon(status, real=True), daemon.cameras(status)
    assert named(own, "processes").text == "lost: motor"
    assert named(own, "real time").text == "guard: NOT fifo 20 (Operation not permitted)"
    assert named(own, "state").next_step == "free the arm"
    assert named(cameras, "cam_low").text.endswith("too slow")
    assert named(cameras, "cam_high").text.endswith("shows the same picture")
    assert named(daemon.arms(status), "joints").level is Level.FAIL
    status["processes"]["motor"]["alive"] = True
    assert named(daemon.arms(status), "contact guard").level is Level.WARN


SECTIONS = [
    Section("machine", [Finding(Level.OK, "kernel", "6.1"), Finding(Level.WARN, "load", "9 (at most 1.4)", "top")]),
    Section("cameras", [Finding(Level.FAIL, "cam_high", "is not there: " + "x" * 100, "plug it in")]),
]


def test_the_report_fits_80_columns_and_says_everything() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(shown(SECTIONS), verdict(SECTIONS, 5.04))
    text = console.export_text()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "-> plug it in" in text
    assert "-> top" in text
    assert "FAIL  1 ok, 1 warn, 1 fail, looked for 5.0 s" in text


def test_the_report_for_scripts() -> None:
    told = described(SECTIONS, "sim.toml")
    assert (told["config"], told["worst"]) == ("sim.toml", "fail")
    assert told["sections"][0]["findings"][0] == {
        "level": "ok", "subject": "kernel", "text": "6.1", "next_step": None,
    }  # fmt: skip
    assert len(all_of(SECTIONS)) == 3
