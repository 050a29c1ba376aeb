"""The motor process on a robot that a test plays: readings that cannot be believed are never followed."""

import gc
import os

import numpy as np
import pytest
from supervisor_rig import configuration

from controller import layout
from controller import motor as process
from controller.board import OwnedBoard, status_ring
from controller.child import Child, Spawned
from controller.faults import FaultCode
from controller.motor import Motor
from controller.robots.base import N_JOINTS, JointState, Robot, RobotError
from controller.states import State
from controller.ticker import Ticker

MS = 1_000_000


class Played(Robot):
    """Its reading is `q`, whatever is commanded."""

    def __init__(self):
        self.q = np.full(N_JOINTS, 0.02)
        self.written = []
        self.readings = 0
        self.closed = False

    def connect(self):
        return self.read(0)

    def read(self, now_ns):
        self.readings += 1
        return JointState(now_ns, self.q.copy(), np.zeros(N_JOINTS), np.zeros(N_JOINTS))

    def write(self, now_ns, q, qd):
        self.written.append(q.copy())

    def disconnect(self):
        self.closed = True


class Clock:
    """Every look at it takes 5 ms."""

    def __init__(self):
        self.t_ns = 10**9

    def now_ns(self):
        self.t_ns += 5_000_000
        return self.t_ns

    def sleep_until(self, t_ns):
        self.t_ns = t_ns


@pytest.fixture
def board():
    made = OwnedBoard(configuration())
    yield made
    made.close()


@pytest.fixture
def robot(monkeypatch):
    made = Played()
    monkeypatch.setattr(process, "make", lambda *_: (made, None))
    return made


def child(board):
    return Child(Spawned("motor", "controller.motor", configuration(), board.board, os.getppid()))


def alarm(board, motor, clock):
    motor.write_status(Ticker(clock, 200.0))
    ring = board.rings[status_ring("motor")]
    record = ring.blank()
    ring.reader().newest(record)
    return FaultCode(int(record["joints_alarm"]))


def steps(motor, n):
    for _ in range(n):
        motor.step()


def test_a_robot_whose_first_reading_is_no_number_is_refused(board, robot):
    robot.q[9] = np.nan
    with pytest.raises(RobotError, match="right_joint_2: measured position nan is not finite, right after connecting"):
        Motor(child(board), Clock())
    assert robot.written == []
    assert robot.closed, "nobody else would let go of it"


def test_a_reading_that_is_no_number_is_told_and_the_hold_stays(board, robot):
    clock = Clock()
    motor = Motor(child(board), clock)
    motor.step()
    assert alarm(board, motor, clock) is FaultCode.NONE
    robot.q = np.full(N_JOINTS, np.nan)
    motor.step()
    assert alarm(board, motor, clock) is FaultCode.JOINTS_INVALID
    robot.q = np.full(N_JOINTS, 0.02)
    motor.step()
    assert alarm(board, motor, clock) is FaultCode.NONE
    assert all((q == 0.02).all() for q in robot.written)
    assert len(robot.written) == 3


def permit_motion(board):
    permit = np.zeros((), layout.PERMIT)
    permit["state"], permit["motion_id"], permit["lease_until_ns"] = State.RUNNING.code, 1, 2**62
    board.rings["permit"].writer().write(permit)


def send(writer, robot, t0_ns, chunk_id=1):
    """A piece that stays where the robot is."""
    record = np.zeros((), layout.PIECE)
    record["chunk_id"], record["motion_id"], record["t_received_ns"] = chunk_id, 1, 100 + chunk_id
    record["t0_ns"], record["t1_ns"] = t0_ns, t0_ns + 500 * MS
    record["q0"] = record["q1"] = robot.q
    writer.write(record)


def noted(board):
    """Of each chunk whose first command was handed over: its number and when it was received."""
    reader, record, found = board.rings["handed"].reader(), np.zeros((), layout.HANDED), []
    while reader.next(record):
        found.append((int(record["chunk_id"]), int(record["t_received_ns"])))
    return found


def test_a_chunk_s_first_command_is_noted_with_its_trace_though_the_next_chunk_has_come_meanwhile(board, robot):
    clock, writer = Clock(), board.rings["piece"].writer()
    motor = Motor(child(board), clock)
    permit_motion(board)
    steps(motor, 1)
    send(writer, robot, clock.t_ns, 1)
    steps(motor, 2)
    send(writer, robot, clock.t_ns + 6 * MS, 2)
    steps(motor, 1)
    send(writer, robot, clock.t_ns + 16 * MS, 3)  # chunk 2 begins by the next tick, which sees chunk 3 as well
    steps(motor, 4)
    assert noted(board) == [(1, 101), (2, 102), (3, 103)]


def test_a_piece_that_was_heard_of_is_followed_though_another_has_taken_its_place_before_the_tick(board, robot):
    clock, writer = Clock(), board.rings["piece"].writer()
    motor = Motor(child(board), clock)
    permit_motion(board)
    steps(motor, 1)
    send(writer, robot, clock.t_ns, 1)
    steps(motor, 1)
    assert noted(board) == [(1, 101)]
    send(writer, robot, clock.t_ns + MS, 2)
    assert motor.hear() == clock.t_ns + MS
    send(writer, robot, clock.t_ns + 16 * MS, 3)
    steps(motor, 1)
    assert noted(board)[1:] == [(2, 102)]
    steps(motor, 3)
    assert noted(board)[2:] == [(3, 103)]


def test_a_command_between_two_ticks_is_one_of_the_newest_piece_by_the_last_reading_and_is_told(board, robot):
    clock, writer = Clock(), board.rings["piece"].writer()
    motor = Motor(child(board), clock)
    permit_motion(board)
    steps(motor, 1)
    send(writer, robot, clock.t_ns, 1)
    steps(motor, 1)
    reader, record = board.rings["joints"].reader(), np.zeros((), layout.JOINTS)
    reader.newest(record)
    before, readings, written = record.copy(), robot.readings, len(robot.written)
    send(writer, robot, clock.t_ns, 2)
    motor.step_between()
    assert noted(board)[1:] == [(2, 102)]
    assert (robot.readings, len(robot.written)) == (readings, written + 1)
    reader.newest(record)
    assert record["t_ns"] == before["t_ns"]
    assert record["t_command_ns"] > before["t_command_ns"]


def test_a_motion_whose_permission_has_ended_brakes_between_two_ticks_too(board, robot):
    clock, writer = Clock(), board.rings["piece"].writer()
    motor = Motor(child(board), clock)
    permit_motion(board)
    steps(motor, 1)
    send(writer, robot, clock.t_ns, 1)
    steps(motor, 1)
    assert not motor.resting
    board.rings["permit"].writer().write(np.zeros((), layout.PERMIT))
    send(writer, robot, clock.t_ns, 2)
    motor.step_between()
    assert motor.resting, "it stood still already"
    assert noted(board) == [(1, 101)]


def test_a_robot_that_has_failed_in_part_is_held_a_while_and_then_given_up(board, robot):
    clock = Clock()
    motor = Motor(child(board), clock)
    motor.step()
    robot.failure = "left arm: it does not obey"
    begun_ns = clock.t_ns
    with pytest.raises(RobotError, match="left arm: it does not obey"):
        steps(motor, 1000)
    assert clock.t_ns - begun_ns >= process.LET_GO_NS
    assert all((q == 0.02).all() for q in robot.written), "held meanwhile"


@pytest.mark.parametrize("failing", ["read", "write"])
def test_a_process_that_ends_on_its_robot_tells_why_and_lets_go_of_it(board, robot, monkeypatch, failing):
    def fail(*_):
        assert not robot.closed
        raise RobotError("no answer")

    def enter(*_, **__):
        setattr(robot, failing, fail)
        return "granted"

    monkeypatch.setattr(process.realtime, "enter", enter)
    try:
        with pytest.raises(RobotError, match="no answer"):
            process.run(child(board))
    finally:
        gc.enable()
    assert robot.closed
    ring = board.rings[status_ring("motor")]
    record = ring.blank()
    ring.reader().newest(record)
    assert record["fault"] == FaultCode.ROBOT_ERROR
    assert record["fault_text"].item() == b"no answer"


class Woken:
    """A clock on which control's wake-up comes 0.5 ms into every sleep that can be woken."""

    def __init__(self):
        self.t_ns = 10**9

    def now_ns(self):
        return self.t_ns

    def sleep_until(self, t_ns, wake_fd=None):
        woken = wake_fd is not None and self.t_ns + MS // 2 < t_ns
        self.t_ns = max(self.t_ns, self.t_ns + MS // 2 if woken else t_ns)
        return woken


def commands_ms(board, robot, monkeypatch, n, begins_ms=(), moving=True):
    """When the first n commands were given, since the loop's begin. begins_ms: of the newest piece, at each wake-up.

    moving: a motion begins with the second tick.
    """
    clock, given = Woken(), []
    began_ns, begins = clock.t_ns, iter(begins_ms)

    def write(now_ns, q, qd):
        given.append((now_ns - began_ns) / MS)
        if len(given) == 1 and moving:
            permit_motion(board)
            send(board.rings["piece"].writer(), robot, began_ns)
        if len(given) == n:
            raise RobotError("the test is over")

    monkeypatch.setattr(robot, "write", write)
    monkeypatch.setattr(process, "MonotonicClock", lambda: clock)
    monkeypatch.setattr(process.realtime, "enter", lambda *_, **__: "granted")
    monkeypatch.setattr(Motor, "hear", lambda _: began_ns + round(next(begins, 0.0) * MS))
    try:
        with pytest.raises(RobotError, match="the test is over"):
            process.run(child(board))
    finally:
        gc.enable()
    return given


def test_a_new_plan_is_commanded_between_two_ticks_but_no_more_than_once(board, robot, monkeypatch):
    assert commands_ms(board, robot, monkeypatch, 6) == [5.0, 10.0, 10.5, 15.0, 15.5, 20.0]


def test_a_plan_that_begins_a_little_later_is_waited_for_and_one_nearer_to_the_tick_is_left_to_it(
    board, robot, monkeypatch
):
    given = commands_ms(board, robot, monkeypatch, 6, begins_ms=[0.0, 0.0, 11.5, 18.6, 23.5])
    assert given == [5.0, 10.0, 11.5, 15.0, 20.0, 23.5]


def test_nothing_begins_between_two_ticks(board, robot, monkeypatch):
    assert commands_ms(board, robot, monkeypatch, 3, moving=False) == [5.0, 10.0, 15.0]


def test_a_robot_without_time_for_it_gets_its_commands_at_ticks_alone(board, robot, monkeypatch):
    robot.between_ticks = False
    assert commands_ms(board, robot, monkeypatch, 3) == [5.0, 10.0, 15.0]
