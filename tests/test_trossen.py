"""The arms' adapter on fake arms: nothing moves by connecting, and each thing that can fail ends as documented."""

import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_trossen import FOLDED, LOWER, RAISED, UPPER, Clock, ErrorState, Mode, Network, sdk
from trossen_causes import REFUSALS, in_error, old_firmware, other_model, unreachable
from trossen_rig import CONFIG, LEFT, TICK_S, Arms, changed

from controller.robots.base import RobotError
from controller.robots.trossen import TrossenRobot
from controller.robots.trossen_checks import MARGIN


@pytest.fixture
def arms():
    return Arms()


@pytest.fixture
def held():
    """Connected, in the middle of the range."""
    rig = Arms(q=RAISED)
    rig.robot.connect()
    return rig


def refused(rig, match):
    with pytest.raises(RobotError, match=match) as error:
        rig.robot.connect()
    for arm in rig.arms:
        assert arm.owner not in rig.drivers, "both were let go"
        assert arm.modes == [Mode.idle] * 7
        assert arm.cleared == 0
    return str(error.value)


# ---- connecting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [FOLDED, RAISED], ids=["folded", "raised"])
def test_connecting_and_disconnecting_move_nothing(q):
    rig = Arms(q=q)
    state = rig.robot.connect()
    allowed = np.maximum(LOWER + MARGIN - q, 0.0) + 1e-9  # what lies on its stops is brought to the edge, no farther
    for arm in rig.arms:
        assert arm.modes == [Mode.position] * 7
        assert (np.abs(np.array(arm.path) - q) <= allowed).all()
    np.testing.assert_allclose(state.q, rig.q)
    rig.tick(state.q, ticks=200)
    rig.robot.disconnect()
    for arm, driver in zip(rig.arms, rig.drivers, strict=True):
        assert (np.abs(np.array(arm.path) - q) <= allowed).all()
        assert arm.owner is None
        assert [call for call in driver.calls if isinstance(call, str)] == ["configure", "mode position", "cleanup"]


def test_what_lies_beyond_the_range_is_brought_to_its_edge_slowly(arms):
    state = arms.robot.connect()
    arms.tick(state.q, ticks=20)
    speed = np.abs(np.diff(np.array(arms.left.path), axis=0)) / 1.54e-3
    assert speed.max() < 0.5
    assert (arms.left.q >= LOWER + 0.9 * MARGIN).all()


def test_the_first_reading_comes_from_after_the_hold(held):
    state = held.robot.read(held.clock.now_ns())
    assert held.clock.now_ns() - state.t_ns < 20_000_000  # the left arm's; here the right one took hold after it
    assert (state.q == held.q).all()
    np.testing.assert_allclose(state.effort[:7], held.left.effort)
    assert (state.external_effort[7:] == held.right.external_effort).all()
    assert (state.temperature == 33.0).all()


def test_both_arms_are_connected_at_the_same_time():
    clock = Clock()
    network = Network(clock)
    for address in (CONFIG.robot.left_ip, CONFIG.robot.right_ip):
        network.add(address, RAISED)
    package = sdk(network)
    together = threading.Barrier(2, timeout=30)
    configure = package.TrossenArmDriver.configure

    def meet(self, *arguments):
        together.wait()  # breaks unless both are in it
        configure(self, *arguments)

    package.TrossenArmDriver.configure = meet
    robot = TrossenRobot(CONFIG.robot, sdk=package, clock=clock, thread=lambda _: ThreadPoolExecutor(1))
    robot.connect()
    robot.disconnect()


def test_an_arm_that_has_just_been_switched_on_is_waited_for(arms):
    arms.right.ready_ns = arms.clock.now_ns() + 8 * 10**9
    arms.robot.connect()
    assert arms.right.modes == [Mode.position] * 7


@pytest.mark.parametrize("cause", REFUSALS, ids=lambda cause: cause.__name__)
def test_an_arm_that_is_not_as_it_should_be_is_refused_and_neither_takes_hold(arms, cause):
    cause(arms)
    refused(arms, REFUSALS[cause])
    for driver in arms.drivers:
        assert "mode position" not in driver.calls


@pytest.mark.parametrize("cause", [old_firmware, other_model, in_error])
def test_an_arm_that_says_what_is_wrong_is_not_even_taken(arms, cause):
    cause(arms)
    refused(arms, "versions|model|error")
    bad = arms.right if cause is old_firmware else arms.left
    assert "configure" not in arms.drivers[arms.arms.index(bad)].calls


@pytest.mark.parametrize("cause", [old_firmware, other_model, in_error])
def test_an_arm_that_does_not_say_who_it_is_is_refused_by_its_driver(arms, cause):
    cause(arms)
    arms.sdk.TrossenArmDriver.discover = staticmethod(lambda *_: [])
    refused(arms, "must match|Model mismatch|error 10 joint_overheated")


def test_what_fails_on_both_arms_is_told_of_both(arms):
    unreachable(arms)
    in_error(arms)
    text = refused(arms, "arm")
    assert "left arm" in text
    assert "right arm" in text


def test_a_firmware_of_another_patch_is_taken():
    rig = Arms(q=RAISED)
    rig.left.firmware = "1.11.9"
    rig.robot.connect()


def test_an_arm_that_says_nothing_new_is_not_held(arms):
    take_state = arms.sdk.TrossenArmDriver._catch_up  # noqa: SLF001
    arms.sdk.TrossenArmDriver._catch_up = lambda self: None  # noqa: SLF001
    refused(arms, r"left arm .*: no new state for 20\d ms \(bound 200 ms\)")
    arms.sdk.TrossenArmDriver._catch_up = take_state  # noqa: SLF001


def test_an_arm_that_sags_when_it_takes_hold_is_refused():
    """Its set-point is led on to the edge of the range, and the arm does not follow."""
    rig = Arms(q=FOLDED - [0, 0.04, 0, 0, 0, 0, 0])
    command = rig.sdk.TrossenArmDriver.set_all_positions

    def sag(self, *goal):
        command(self, *goal)
        self._arm.held_by_hand[:] = True
        self._arm.q[1] = -0.06

    rig.sdk.TrossenArmDriver.set_all_positions = sag
    refused(rig, r"left arm .*: joint_1 is at -0.0600 although held at 0.0010 \(bound 0.05 apart\)")


@pytest.mark.parametrize("q", [-0.06, np.nan])
def test_the_set_point_is_never_where_no_joint_can_be(q):
    """What is read in position mode becomes the set-point, so it is held against the range as well."""
    rig = Arms()
    take_hold = rig.sdk.TrossenArmDriver.set_all_modes

    def sag(self, mode):
        take_hold(self, mode)
        self._arm.held_by_hand[:] = True
        self._arm.q[1] = q

    rig.sdk.TrossenArmDriver.set_all_modes = sag
    refused(rig, r"left arm .* position: joint_1 at .* lies outside 0\.0010\.\.3\.1406 by more than 0\.05")
    assert [call for driver in rig.drivers for call in driver.calls if isinstance(call, tuple)] == []


def test_an_unknown_end_effector_is_refused_with_the_known_ones():
    rig = Arms(changed('end_effector = "wxai_v0_follower"', 'end_effector = "claw"'))
    refused(rig, "'claw': the driver knows wxai_v0_base, wxai_v0_follower, wxai_v0_leader")


def test_a_robot_that_is_not_connected_has_no_state(arms):
    with pytest.raises(RobotError, match="not connected"):
        arms.robot.read(0)


# ---- streaming -----------------------------------------------------------------------------------------


def sent(driver):
    return [call for call in driver.calls if isinstance(call, tuple)]


def test_each_command_is_one_period_long_and_has_its_velocity(held):
    q = np.tile(RAISED, 2)
    for step in range(1, 50):
        qd = np.zeros(14)
        qd[1], qd[9] = 1.0, -1.0
        held.tick(q + step * TICK_S * qd, qd)
    for driver, sign in zip(held.drivers, (1, -1), strict=True):
        goal, goal_time_s, velocity = sent(driver)[-1]
        assert goal_time_s == pytest.approx(TICK_S)
        assert velocity[1 if sign > 0 else 2] == sign
        assert goal[1 if sign > 0 else 2] == pytest.approx(RAISED[1 if sign > 0 else 2] + sign * 49 * TICK_S)
    assert held.robot.failure == ""
    assert held.left.q[1] == pytest.approx(RAISED[1] + 48 * TICK_S, abs=0.02)


def test_feed_forward_is_the_configurations_choice():
    rig = Arms(changed("velocity_feedforward = true", "velocity_feedforward = false"), q=RAISED)
    rig.robot.connect()
    rig.tick(np.tile(RAISED, 2), np.full(14, 0.1))
    assert sent(rig.drivers[0])[-1][2] is None


def test_commands_stay_inside_what_the_arm_enforces(held):
    wanted = np.tile(UPPER + 0.2, 2)
    held.tick(wanted, ticks=350)
    assert held.robot.failure == ""
    for arm, driver in zip(held.arms, held.drivers, strict=True):
        assert (np.array([goal for goal, *_ in sent(driver)]) <= UPPER - MARGIN).all()
        assert arm.q == pytest.approx(UPPER - MARGIN, abs=1e-3)


def test_a_late_command_is_caught_up_with_no_faster_than_the_limit(held):
    """The motor process stood still for 60 ms: the goal is 0.18 rad away, and one period would be 36 rad/s."""
    q, qd = np.tile(RAISED, 2), np.zeros(14)
    qd[[1, 8]] = 3.0
    held.clock.advance(0.06)
    for step in range(12, 80):
        held.tick(q + min(step, 60) * TICK_S * qd, qd)
    assert held.robot.failure == ""
    speed = np.abs(np.diff(np.array(held.left.path)[:, 1])) / 1.54e-3
    assert speed.max() <= 3.0 + 1e-6
    assert held.left.q[1] == pytest.approx(RAISED[1] + 0.9, abs=0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["q", "qd"])
def test_what_is_no_number_is_never_handed_to_an_arm(held, which, bad):
    q, qd = np.tile(RAISED, 2), np.zeros(14)
    (q if which == "q" else qd)[9] = bad
    before = [len(driver.calls) for driver in held.drivers]
    with pytest.raises(RobotError, match="non-finite command refused"):
        held.robot.write(held.clock.now_ns(), q, qd)
    assert [len(driver.calls) for driver in held.drivers] == before


def test_a_command_of_another_length_is_refused(held):
    with pytest.raises(RobotError, match="a command has 14 positions"):
        held.robot.write(0, np.zeros(13), np.zeros(14))


def test_readings_are_stamped_by_the_arm_and_never_go_back(held):
    before = held.tick(np.tile(RAISED, 2), ticks=3).t_ns
    for _ in range(50):
        state = held.tick(np.tile(RAISED, 2))
        assert before <= state.t_ns <= held.clock.now_ns()
        assert held.clock.now_ns() - state.t_ns < 10_000_000
        before = state.t_ns
    assert before > 1_000_200_000_000


def test_a_joint_that_gets_warm_is_told_once(held, caplog):
    with caplog.at_level(logging.WARNING):
        held.right.rotor = np.full(7, 30.0)
        held.right.rotor[2] = 66.0
        state = held.tick(np.tile(RAISED, 2), ticks=50)
    assert state.temperature[9] == 66.0
    assert [r.message for r in caplog.records] == [
        "right arm (192.168.1.4) temperature: joint_2 at 66 °C (bound 65); "
        "let the arm cool down; hold it stretched out less long"
    ]


# ---- what fails on the way -----------------------------------------------------------------------------


def test_an_error_of_one_arm_is_told_with_joint_and_next_step_and_the_other_goes_on(held):
    q = np.tile(RAISED, 2)
    held.tick(q, ticks=5)
    held.right.fail(ErrorState.joint_limit_exceeded, "Joint 3 beyond its limit")
    held.tick(q, ticks=3)
    assert re.fullmatch(
        r"right arm \(192\.168\.1\.4\): error 15 joint_limit_exceeded \(joint_3\): .*; free the arm, .*",
        held.robot.failure,
    )
    before = [len(sent(driver)) for driver in held.drivers]
    lower = q.copy()
    lower[1] -= 0.02
    held.tick(lower, ticks=20)
    assert len(sent(held.drivers[0])) == before[0] + 20, "the healthy arm is still led, so that it can be braked"
    assert len(sent(held.drivers[1])) == before[1], "the other is left alone: it has braked by itself"
    assert held.left.q[1] == pytest.approx(RAISED[1] - 0.02, abs=1e-3)
    held.robot.disconnect()
    assert held.left.modes == held.right.modes == [Mode.idle] * 7


@pytest.mark.parametrize("code", list(ErrorState)[1:])
def test_every_error_of_the_controller_is_told_by_its_number(held, code):
    held.left.fail(code)
    held.tick(np.tile(RAISED, 2), ticks=3)
    assert held.robot.failure.startswith(f"left arm ({LEFT}): error {code.value} {code.name}: ")
    assert len(held.robot.failure.encode()) <= 240


@pytest.mark.parametrize("error", ["RuntimeError", "LogicError"])
def test_whatever_the_driver_raises_is_a_failure_of_that_arm(held, error):
    def fail():
        raise getattr(held.sdk, error)("Failed to read UDP message due to Success\nPlease refer to our guide")

    held.drivers[0].get_robot_output = fail
    held.tick(np.tile(RAISED, 2), ticks=2)
    assert held.robot.failure.startswith(f"left arm ({LEFT}): Failed to read UDP message due to Success; check power")


def test_a_mistake_of_ours_is_not_taken_for_the_arms(held):
    held.drivers[0].get_robot_output = lambda: None
    with pytest.raises(AttributeError):
        held.tick(np.tile(RAISED, 2), ticks=2)


def test_a_dead_link_is_noticed_although_the_driver_says_configured(held):
    q = np.tile(RAISED, 2)
    held.tick(q, ticks=5)
    held.right.link = False
    ticks = 0
    while not held.robot.failure and ticks < 100:
        held.tick(q)
        ticks += 1
    assert held.drivers[1].get_is_configured()
    assert re.fullmatch(r"right arm .*: no new state for 5\d ms \(bound 50 ms\); check power .*", held.robot.failure)
    assert ticks * TICK_S <= CONFIG.robot.trossen.stale_s + 3 * TICK_S
    assert held.right.modes == [Mode.idle] * 7, "it has noticed too"


def test_a_call_that_does_not_return_holds_up_nobody(held):
    q = np.tile(RAISED, 2)
    held.tick(q, ticks=5)
    held.threads[0].hangs = True
    before = len(sent(held.drivers[1]))
    held.tick(q, ticks=15)
    assert len(sent(held.drivers[1])) == before + 15
    assert re.fullmatch(r"left arm .*: no new state for 5\d ms .*", held.robot.failure)
    assert len(held.threads[0].kept) == 1, "commands do not pile up behind it"


def test_a_short_silence_is_no_failure_and_the_newest_command_follows_it(held):
    q = np.tile(RAISED, 2)
    held.tick(q, ticks=5)
    held.threads[0].hangs = True
    for step in range(1, 8):
        held.tick(q + 0.001 * step)
    held.threads[0].hangs = False
    held.threads[0].go_on()
    held.tick(q + 0.007, ticks=20)
    assert held.robot.failure == ""
    assert sent(held.drivers[0])[-21][0][0] == pytest.approx(RAISED[0] + 0.007)


def test_a_machine_that_stood_still_makes_no_arm_silent(held):
    q = np.tile(RAISED, 2)
    held.tick(q, ticks=5)
    for _ in range(3):
        held.clock.advance(0.3)
        held.tick(q, ticks=3)
    assert held.robot.failure == ""


def test_a_silent_arm_that_can_hear_is_still_told_to_brake(held):
    q = np.tile(RAISED, 2)
    number = held.drivers[0]
    frozen = number.get_robot_output()
    number.get_robot_output = lambda: frozen
    held.tick(q, ticks=15)
    assert "left arm" in held.robot.failure
    before = len(sent(number))
    held.tick(q, ticks=5)
    assert len(sent(number)) == before + 5


def test_a_state_without_joints_is_a_failure(held):
    held.drivers[1].cleanup()
    held.drivers[1].set_all_positions = lambda *_: None
    held.tick(np.tile(RAISED, 2), ticks=2)
    assert "right arm (192.168.1.4): a state has 0 joints, expected 7" in held.robot.failure


def test_letting_go_waits_for_no_arm_for_ever_and_does_not_raise(held, monkeypatch, caplog):
    monkeypatch.setattr("controller.robots.trossen.CLOSE_S", 0.01)
    held.threads[0].hangs = True
    held.robot.disconnect()
    assert held.right.owner is None
    assert "an arm was not let go" in caplog.text


def test_a_mistake_while_connecting_or_letting_go_leaves_no_arm_behind(arms, caplog):
    def mistake():
        raise TypeError("incompatible function arguments")

    left, _ = arms.drivers
    left.get_joint_limits = mistake
    with pytest.raises(TypeError):
        arms.robot.connect()
    assert [arm.owner for arm in arms.arms] == [None, None]
    left.cleanup = mistake
    arms.robot.disconnect()
    assert "an arm was not let go; it brakes when this process has ended" in caplog.text
    assert "incompatible function arguments" in caplog.text


def test_letting_go_of_an_arm_that_has_failed_does_not_raise(held):
    def fail():
        raise held.sdk.RuntimeError("TCP connection closed unexpectedly")

    held.drivers[0].cleanup = fail
    held.robot.disconnect()
    assert held.right.owner is None


def test_a_process_that_comes_after_finds_the_arm_in_error_and_does_not_clear_it(held):
    held.left.fail(ErrorState.joint_limit_exceeded)
    held.tick(np.tile(RAISED, 2), ticks=3)
    held.robot.disconnect()
    held.robot = held.another()
    refused(held, "error: 15 joint_limit_exceeded")


def test_a_process_that_comes_after_one_that_was_killed_takes_the_arms_again(held):
    for arm in held.arms:  # the connection ended with the process: the controllers brake and are free
        arm.owner, arm.modes = None, [Mode.idle] * 7
    held.robot = held.another()
    state = held.robot.connect()
    np.testing.assert_allclose(state.q, np.tile(RAISED, 2), atol=1e-6)
