"""The code of the control and motor processes drives the fake arms: home, run, stop, each way in which an arm fails."""

import os

import numpy as np
import pytest
from fake_trossen import FOLDED, RAISED, VELOCITY, ErrorState, Mode
from trossen_rig import CONFIG, Arms

from controller import motor as process
from controller.board import OwnedBoard, status_ring
from controller.child import Child, Spawned
from controller.control import Control
from controller.faults import FaultCode
from controller.motor import Motor
from controller.planner import Phase
from controller.robots.base import RobotError
from controller.states import State
from controller.ticker import Ticker

MS = 1_000_000
CONTROL_EVERY = round(CONFIG.robot.rate_hz / CONFIG.control.rate_hz)
HOME = np.tile(CONFIG.robot.homing.pose, 2)
BRAKE = np.tile(CONFIG.robot.limits.brake.acceleration, 2)
SMALL = {name: camera.model_copy(update={"width": 64, "height": 48}) for name, camera in CONFIG.cameras.items()}


class Kit:
    """Both processes on one fake clock; the test is supervisor and policy link."""

    def __init__(self, monkeypatch, q=FOLDED):
        config = CONFIG.model_copy(update={"cameras": SMALL})
        self.arms = Arms(config, q)
        self.clock = self.arms.clock
        self.board = OwnedBoard(config)
        self.permit, self.permits = self.board.rings["permit"].blank(), self.board.rings["permit"].writer()
        self.chunk, self.chunks = self.board.rings["chunk"].blank(), self.board.rings["chunk"].writer()
        self.permit["speed"], self.permit["seam"] = 1.0, CONFIG.control.seam_method
        self.permit["goal"] = HOME
        self.renew()
        monkeypatch.setattr(process, "make", lambda *_: (self.arms.robot, None))
        self.motor = Motor(self.child(config, "motor"), self.clock)
        self.control = Control(self.child(config, "control"), self.clock)
        self.tickers = Ticker(self.clock, 200.0), Ticker(self.clock, 50.0)
        self.ticks = 0
        self.log = []

    def child(self, config, name):
        return Child(Spawned(name, f"controller.{name}", config, self.board.board, os.getppid()))

    def renew(self):
        self.permit["t_ns"] = self.clock.now_ns()
        self.permit["lease_until_ns"] = self.clock.now_ns() + 100 * MS
        self.permits.write(self.permit)

    def begin(self, state):
        self.permit["state"] = state.code
        self.permit["goal"] = HOME if state is State.HOMING else np.nan
        if state is not State.IDLE:
            self.permit["motion_id"] += 1
        self.renew()

    def act(self, q, n=50, motion_id=None):
        """The policy wants these joints, from now on, for n steps: one pose or one row per step."""
        chunk = self.chunk
        chunk["chunk_id"] += 1
        chunk["motion_id"] = self.permit["motion_id"] if motion_id is None else motion_id
        chunk["t_observation_ns"], chunk["action_rate_hz"], chunk["n_steps"] = self.clock.now_ns(), 50.0, n
        chunk["actions"][:n] = q
        self.chunks.write(chunk)

    def run(self, seconds):
        for _ in range(round(200 * seconds)):
            self.clock.advance(0.005)
            self.renew()
            self.ticks += 1
            if self.ticks % CONTROL_EVERY == 0:
                self.control.step(self.tickers[1], self.clock.now_ns(), 0, False)
            self.motor.step()
            self.log.append((self.record("joints"), self.arms.q))

    def record(self, name):
        ring = self.board.rings[name]
        record = ring.blank()
        ring.reader().newest(record)
        return record

    def status(self, name="motor"):
        self.motor.write_status(self.tickers[0])
        return self.record(status_ring(name))

    @property
    def commanded(self):
        return np.array([record["q_command"] for record, _ in self.log])

    @property
    def measured(self):
        return np.array([q for _, q in self.log])

    def fastest(self):
        """Of every joint that was measured by an arm itself, as a part of what the arm would stop on."""
        speeds = [np.abs(np.diff(np.array(arm.path), axis=0)) / 1.54e-3 / VELOCITY for arm in self.arms.arms]
        return max(speed.max() for speed in speeds)


@pytest.fixture
def homed(monkeypatch):
    made = Kit(monkeypatch, HOME[:7])
    yield made
    made.board.close()


def running(kit):
    """In the middle of a fast motion of both arms."""
    far = HOME.copy()
    far[[0, 7]] += 1.2
    kit.act(np.linspace(HOME, far, 80), n=80, motion_id=int(kit.permit["motion_id"]) + 1)
    kit.begin(State.RUNNING)
    kit.run(0.6)
    assert np.abs(kit.log[-1][0]["qd_command"][[0, 7]]).min() > 0.5
    return kit


def test_folded_arms_are_homed(monkeypatch):
    kit = Kit(monkeypatch, FOLDED)
    kit.begin(State.HOMING)
    kit.run(3.0)
    assert int(kit.record(status_ring("control"))["phase"]) == Phase.DONE
    np.testing.assert_allclose(kit.arms.q, HOME, atol=5e-3)
    assert kit.motor.robot.failure == ""
    assert kit.fastest() < 0.5
    kit.board.close()


def test_a_run_follows_the_policy(homed):
    running(homed)
    error = np.abs(homed.commanded[:-2] - homed.measured[2:])
    assert error.max() < 0.03
    assert homed.record(status_ring("motor"))["fault"] == FaultCode.NONE


def test_a_stop_brakes_and_holds(homed):
    running(homed)
    homed.begin(State.IDLE)
    homed.run(0.3)
    assert homed.motor.resting
    rest = homed.arms.q
    homed.run(0.1)
    np.testing.assert_allclose(homed.arms.q, rest, atol=1e-6)
    assert [arm.modes[0] for arm in homed.arms.arms] == [Mode.position] * 2


def test_what_the_arms_measure_is_published(homed):
    homed.run(0.05)
    record, status = homed.record("joints"), homed.status()
    for number, arm in enumerate(homed.arms.arms):
        half = slice(7 * number, 7 * number + 7)
        np.testing.assert_allclose(record["effort"][half], arm.effort)
        np.testing.assert_allclose(record["external_effort"][half], arm.external_effort)
    assert (status["temperature"] == 33.0).all()
    assert 0 < homed.clock.now_ns() - record["t_ns"] < 10 * MS


def breaks(arm):
    arm.fail(ErrorState.joint_feedback_failed, "Joint 2 does not answer")


def overheats(arm):
    arm.fail(ErrorState.joint_overheated)


def is_unplugged(arm):
    arm.link = False


def is_switched_off(arm):
    arm.powered = False


FAILURES = {
    breaks: "error 4 joint_feedback_failed (joint_2): a joint did not answer; switch the arm off",
    overheats: "error 10 joint_overheated: a joint is too hot; switch the arm off and let it cool down",
    is_unplugged: "no new state for 5",
    is_switched_off: "no new state for 5",
}


def stopped(kit, seconds=1.0):
    """Runs until the motor process would end; its reason."""
    with pytest.raises(RobotError) as error:
        kit.run(seconds)
    kit.motor.robot.disconnect()
    return str(error.value)


@pytest.mark.parametrize(
    ("side", "cause"), [("left", cause) for cause in FAILURES] + [("right", breaks), ("right", is_unplugged)]
)
def test_an_arm_that_fails_in_motion_stops_both_the_healthy_one_braked_within_its_limits(homed, side, cause):
    running(homed)
    failed = getattr(homed.arms, side)
    healthy, half = (
        (homed.arms.right, slice(7, 14)) if side == "left" else (homed.arms.left, slice(0, 7))
    )
    begun = len(homed.log)
    cause(failed)
    text = stopped(homed)
    assert text.startswith(f"{side} arm (")
    assert FAILURES[cause] in text

    fault = homed.record(status_ring("motor"))
    assert fault["fault"] == FaultCode.ROBOT_ERROR
    assert int(fault["fault_motion_id"]) == int(homed.permit["motion_id"])
    assert text.encode().startswith(fault["fault_text"].item())

    modes = [int(record["mode"]) for record, _ in homed.log[begun:]]
    bound_s = CONFIG.robot.trossen.stale_s + 3 * 0.005
    assert modes.index(process.Mode.BRAKE) * 0.005 <= bound_s
    tail = homed.commanded[begun - 2 :, half]
    acceleration = np.abs(np.diff(tail, 2, axis=0)) / 0.005**2
    assert (acceleration <= 1.05 * BRAKE[half]).all(), "no step"
    assert (tail[-40:] == tail[-1]).all(), "held"
    assert np.abs(healthy.q - tail[-1]).max() < 1e-4, "the joints are at rest too"
    assert healthy.error is ErrorState.none
    assert healthy.modes == [Mode.idle] * 7, "and was let go braked"
    assert failed.modes == [Mode.idle] * 7


@pytest.mark.parametrize("cause", FAILURES, ids=lambda cause: cause.__name__)
def test_an_arm_that_fails_at_rest_ends_the_process_and_nothing_moves(homed, cause):
    homed.begin(State.IDLE)
    homed.run(0.1)
    q = homed.arms.q
    cause(homed.arms.left)
    assert FAILURES[cause] in stopped(homed)
    np.testing.assert_allclose(homed.arms.q, q, atol=1e-6)


def test_both_arms_may_fail_at_once(homed):
    running(homed)
    for arm in homed.arms.arms:
        breaks(arm)
    text = stopped(homed)
    assert "left arm" in text
    assert "right arm" in text


def test_a_driver_that_hangs_stops_the_other_arm_too(homed, monkeypatch):
    monkeypatch.setattr("controller.robots.trossen.CLOSE_S", 0.01)
    running(homed)
    homed.arms.threads[1].hangs = True
    assert "right arm (192.168.1.4): no new state for 5" in stopped(homed)
    assert homed.arms.left.modes == [Mode.idle] * 7


def test_an_arm_held_by_hand_is_a_tracking_error_and_not_the_arms(homed):
    homed.arms.right.held_by_hand[:] = True
    running(homed)
    homed.run(0.4)
    assert homed.record(status_ring("motor"))["fault"] == FaultCode.TRACKING
    assert homed.motor.robot.failure == ""


def test_a_reading_that_is_no_number_brakes_and_is_the_joints_fault(homed):
    running(homed)
    homed.arms.left.effort = np.full(7, np.nan)
    homed.run(0.1)
    assert homed.record(status_ring("motor"))["fault"] == FaultCode.NONE, "an effort is not what we steer by"
    read = homed.arms.robot.read

    def spoiled(now_ns):
        state = read(now_ns)
        state.q = state.q.copy()
        state.q[3] = np.nan
        return state

    homed.arms.robot.read = spoiled
    homed.run(0.3)
    assert homed.record(status_ring("motor"))["fault"] == FaultCode.JOINTS_INVALID
    assert homed.motor.resting


def test_a_push_against_a_moving_arm_is_a_contact(homed):
    running(homed)
    homed.arms.left.external_effort = np.array([0, 17.0, 0, 0, 0, 0, 0])
    homed.run(0.3)
    assert homed.record(status_ring("motor"))["fault"] == FaultCode.CONTACT


def test_a_motor_process_that_stood_still_does_not_make_the_arms_jump(homed):
    running(homed)
    homed.clock.advance(0.07)
    homed.run(0.3)
    assert homed.motor.robot.failure == ""
    assert homed.fastest() < 0.55


def test_an_arm_that_is_raised_by_hand_when_the_process_begins_is_where_it_is_held(monkeypatch):
    kit = Kit(monkeypatch, q=RAISED)
    kit.run(0.3)
    np.testing.assert_allclose(kit.arms.q, np.tile(RAISED, 2), atol=1e-6)
    kit.board.close()
