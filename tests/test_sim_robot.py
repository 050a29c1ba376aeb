"""The simulated robot behind the Robot interface, on a fake clock."""

import math

import numpy as np
import pytest

from controller import layout
from controller.robots.base import GRIPPERS, N_JOINTS, RobotError
from controller.robots.sim import CATCH_UP_NS, SimRobot
from controller.sim import kit, task

T0_NS = 5_000_000_000
TICK_NS = 5_000_000
ZERO = np.zeros(N_JOINTS)


class Shelf:
    """A world ring of one place."""

    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record.copy())
        return len(self.records)

    def newest(self, out):
        if self.records:
            out[...] = self.records[-1]
        return len(self.records)


def make(**options):
    robot = SimRobot(clock=lambda: T0_NS, **options)
    robot.connect()
    return robot


def run(robot, seconds, command=None, t_ns=T0_NS):
    """Tick at 200 Hz; command(elapsed_s) -> (q, qd). Returns the last state and the instant."""
    state = robot.read(t_ns)
    for _ in range(round(seconds * 1e9) // TICK_NS):
        t_ns += TICK_NS
        state = robot.read(t_ns)
        if command is not None:
            robot.write(t_ns, *command((t_ns - T0_NS) / 1e9))
    return state, t_ns


def test_it_connects_at_rest_in_the_start_pose():
    robot = SimRobot(clock=lambda: T0_NS)
    state = robot.connect()
    np.testing.assert_allclose(state.q, np.tile(kit.START_POSE, 2))
    np.testing.assert_array_equal(state.qd, ZERO)
    assert state.t_ns == T0_NS


def test_it_holds_where_it_connected():
    robot = SimRobot(clock=lambda: T0_NS)
    before = robot.connect().q
    after, _ = run(robot, 1.0)
    np.testing.assert_allclose(after.q, before, atol=1e-3)


def test_physics_keeps_real_time_to_one_step():
    robot = make()
    robot.read(T0_NS)
    state = robot.read(T0_NS + 11_000_000)
    assert state.t_ns == T0_NS + 10_000_000
    assert robot.lost_s == 0.0


def test_a_long_pause_is_dropped_and_counted():
    robot = make()
    robot.read(T0_NS)
    state = robot.read(T0_NS + CATCH_UP_NS + 400_000_000)
    assert robot.lost_s == pytest.approx(0.4)
    assert state.t_ns == T0_NS + CATCH_UP_NS + 400_000_000


def test_it_reaches_a_commanded_pose():
    robot = make()
    start = robot.read(T0_NS).q
    goal = start + np.tile([0.2, 0.3, 0.2, -0.2, 0.1, 0.3, -0.01], 2)

    def ramp(elapsed_s):
        part = min(elapsed_s, 1.0)
        return start + part * (goal - start), (goal - start) * (elapsed_s < 1.0)

    state, _ = run(robot, 2.0, ramp)
    np.testing.assert_allclose(state.q, goal, atol=5e-3)


def lag_at_speed(robot, speed=0.5):
    start = robot.read(T0_NS).q
    direction = np.zeros(N_JOINTS)
    direction[[0, 7]] = speed
    state, t_ns = run(robot, 1.0, lambda t: (start + t * direction, direction))
    commanded = start + (t_ns - T0_NS) / 1e9 * direction
    return float((commanded - state.q)[0] / speed)


def test_without_feed_forward_the_arm_lags_by_kv_over_kp():
    kp, kv = kit.GAINS[0]
    assert lag_at_speed(make(velocity_feedforward=False)) == pytest.approx(kv / kp, abs=0.01)


def test_feed_forward_takes_most_of_the_lag():
    assert abs(lag_at_speed(make())) < 0.015


def test_a_jump_is_clipped_to_the_firmware_velocity():
    robot = make()
    start = robot.read(T0_NS).q
    jump = start.copy()
    jump[0] += 3.0
    fastest = 0.0
    for tick in range(1, 100):
        robot.write(T0_NS + tick * TICK_NS, jump, ZERO)
        fastest = max(fastest, robot.read(T0_NS + tick * TICK_NS).qd[0])
    assert fastest > 1.0
    assert fastest < 1.5 * kit.joint_limits()[2][0]


def test_commands_are_clipped_to_the_joint_range():
    robot = make()
    beyond = np.tile([0.0, 0.3, -1.0, 0.0, 0.0, 0.0, 0.08], 2)
    state, _ = run(robot, 2.0, lambda _: (beyond, ZERO))
    assert state.q[2] == pytest.approx(0.0, abs=0.01)
    np.testing.assert_allclose(state.q[list(GRIPPERS)], 0.04, atol=1e-3)


def test_feed_forward_ends_when_commands_stop_coming():
    robot = make()
    start = robot.read(T0_NS).q
    speed = np.zeros(N_JOINTS)
    speed[0] = 1.0
    robot.write(T0_NS, start, speed)
    state, _ = run(robot, 2.0)
    np.testing.assert_allclose(state.q, start, atol=2e-3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_command_is_refused(bad):
    robot = make()
    q = robot.read(T0_NS).q
    q[4] = bad
    with pytest.raises(RobotError, match="non-finite"):
        robot.write(T0_NS, q, ZERO)


def test_a_command_of_another_size_is_refused():
    with pytest.raises(RobotError, match="14"):
        make().write(T0_NS, np.zeros(7), np.zeros(7))


def test_efforts_carry_the_arms_weight():
    state, _ = run(make(), 0.5)
    assert state.effort[2] == pytest.approx(-6.97, abs=0.3) or state.effort[2] == pytest.approx(6.97, abs=0.3)


def test_the_world_is_published_at_most_60_times_a_second():
    shelf = Shelf()
    robot = make(world_writer=shelf, seed=5)
    run(robot, 1.0)
    assert 40 <= len(shelf.records) <= 62
    record = shelf.records[-1]
    assert record["n_qpos"] == 30
    assert record["scene_seed"] == 5
    np.testing.assert_array_equal(record["environment"][: record["n_environment"]], robot.environment)
    assert len(robot.environment_names) == robot.environment.size <= layout.MAX_ENVIRONMENT


def test_it_goes_on_in_the_world_it_left():
    shelf = Shelf()
    robot = make(world_writer=shelf, seed=2)
    start = robot.read(T0_NS).q
    run(robot, 1.0, lambda t: (start + 0.3 * min(t, 1.0), np.full(N_JOINTS, 0.3)))
    left = shelf.records[-1]
    again = SimRobot(world_reader=shelf, seed=9, clock=lambda: T0_NS)
    state = again.connect()
    np.testing.assert_array_equal(state.qd, ZERO)
    np.testing.assert_array_equal(again.environment, left["environment"][:14])
    held, _ = run(again, 0.5)
    np.testing.assert_allclose(held.q, state.q, atol=3e-3)


def test_a_world_of_another_model_is_refused():
    shelf = Shelf()
    make(world_writer=shelf)
    shelf.records[-1]["n_qpos"] = 12
    with pytest.raises(RobotError, match="12 positions"):
        SimRobot(world_reader=shelf).connect()


def test_laying_out_moves_the_objects_and_not_the_arms():
    shelf = Shelf()
    robot = make(world_writer=shelf)
    before, t_ns = run(robot, 0.1)
    robot.lay_out(77)
    after = robot.read(t_ns)
    np.testing.assert_array_equal(after.q, before.q)
    np.testing.assert_array_equal(robot.environment, task.layout(77))
    assert (shelf.records[-1]["scene_count"], shelf.records[-1]["scene_seed"]) == (1, 77)
    robot.lay_out(78, scene_count=5)
    assert robot.scene_count == 5


def test_disconnecting_leaves_it_where_it_is():
    robot = make()
    before, t_ns = run(robot, 0.2)
    robot.disconnect()
    after, _ = run(robot, 0.2, t_ns=t_ns)
    np.testing.assert_allclose(after.q, before.q, atol=1e-4)
