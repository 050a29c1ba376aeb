"""The contact guard: what trips, what does not, and the simulated arms that run into something."""

import numpy as np
import pytest

from controller.contact import ContactWatch
from controller.faults import FaultCode
from controller.follower import Mode
from controller.robots.base import GRIPPERS, N_JOINTS
from controller.robots.sim import SimRobot
from controller.states import State
from policy_server import kinematics, tabletop
from tests.motion_rig import MS, SIM
from tests.sim_rig import SimRig

BOUND = np.array((8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 100.0) * 2)
TICK_NS = 5 * MS


class Watch:
    """Ticks at 200 Hz with a given effort on one joint."""

    def __init__(self, bound=BOUND):
        self.watch, self.t_ns = ContactWatch(bound, 0.03), 1_000 * MS

    def run(self, ticks, load, joint=1, following=True):
        effort = np.zeros(N_JOINTS)
        effort[joint] = load
        for _ in range(ticks):
            self.t_ns += TICK_NS
            if found := self.watch.check(self.t_ns, following, effort):
                return found
        return None


def test_a_push_that_lasts_is_a_fault_that_names_joint_value_bound_and_time():
    watch = Watch()
    assert watch.run(20, 7.9) is None
    assert watch.run(20, -9.5) == (FaultCode.CONTACT, "left_joint_1 is pushed with -9.5 N m (bound 8.0) for 30 ms")


def test_a_knock_now_and_then_is_none():
    watch = Watch()
    for _ in range(20):
        assert watch.run(5, 60.0) is None
        assert watch.run(5, 0.0) is None


def test_noise_does_not_hide_a_contact():
    watch = Watch()
    for _ in range(20):
        if found := watch.run(5, 20.0) or watch.run(1, 7.0):
            break
    assert found is not None
    assert found[0] is FaultCode.CONTACT


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_effort_that_is_no_number_any_more_is_a_fault_in_a_motion(value):
    watch = Watch()
    assert watch.run(10, 1.0) is None
    code, text = watch.run(1, value)
    assert code is FaultCode.JOINTS_INVALID
    assert text.startswith("left_joint_1: external effort ")


def test_an_effort_that_was_never_reported_is_not_watched():
    assert Watch().run(50, np.nan) is None


def test_grippers_are_told_in_newtons():
    watch = Watch()
    watch.run(1, 0.0)
    found = watch.run(20, 130.0, joint=GRIPPERS[1])
    assert found is not None
    assert "right_left_carriage_joint is pushed with 130.0 N (bound 100.0)" in found[1]


def test_nothing_trips_while_nothing_moves():
    assert Watch().run(200, 50.0, following=False) is None


@pytest.mark.parametrize("bound", [BOUND, None])
def test_what_is_not_reported_or_not_bounded_never_trips(bound):
    assert Watch(bound).run(200, np.nan if bound is not None else 1e6) is None


def test_an_infinite_effort_trips():
    watch = Watch()
    watch.run(1, 0.0)
    assert watch.run(20, np.inf) is not None


def test_one_joint_that_is_not_reported_hides_no_other():
    watch = Watch()
    effort = np.zeros(N_JOINTS)
    effort[3], effort[8] = np.nan, 0.0
    watch.watch.check(watch.t_ns, True, effort)
    effort[8] = 20.0
    found = [watch.watch.check(watch.t_ns + n * TICK_NS, True, effort) for n in range(1, 20)]
    assert any(text and "right_joint_1" in text[1] for text in found)


def test_a_motion_may_leave_a_contact_but_not_press_on():
    leaving, pressing = Watch(), Watch()
    for load in np.linspace(20.0, 0.0, 50):
        assert leaving.run(2, load) is None
    assert leaving.run(20, 9.0) is not None  # once free, the bound holds again
    assert pressing.run(5, 20.0) is None
    assert pressing.run(20, 21.9) is None
    assert pressing.run(20, 22.1) is not None


# ---- the simulated arms ------------------------------------------------------------------------------------


def hand_at(position, pitch, side="left"):
    """Joints that bring a hand to a place in the world."""
    where = np.array(position)
    return kinematics.inverse(tabletop._hand(side, where, pitch, 0.0), tabletop._guess(side, where))  # noqa: SLF001


def driven(goals):
    """Both guards' rig, the collision guard blind, after a chunk that leads from home to these poses."""
    rig = SimRig(looking=False)
    rig.home()
    start = rig.follower.q.copy()
    goal = start.copy()
    for side, q in goals.items():
        first = 0 if side == "left" else 7
        goal[first : first + 6] = q
    rig.run(np.tile(start, (5, 1)))
    rig.advance(60)
    share = np.linspace(0.0, 1.0, 75)[:, None]
    way = start + share * share * (3.0 - 2.0 * share) * (goal - start)
    rig.receive(np.concatenate((way, np.tile(goal, (50, 1)))))
    rig.advance(2300)
    return rig


@pytest.mark.raises_fault("contact", "homing", "running")
@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_somebody_who_holds_a_moving_arm_back_stops_it(state):
    rig = SimRig(looking=False)
    read, pushed = rig.robot.read, np.zeros(N_JOINTS)

    def read_pushed(now_ns):
        reading = read(now_ns)
        reading.external_effort += pushed
        return reading

    rig.robot.read = read_pushed
    if state is State.RUNNING:
        rig.home()
        rig.run(rig.follower.q + np.linspace(0.0, 0.5, 100)[:, None] * np.eye(N_JOINTS)[0])
    else:
        rig.begin(State.HOMING)
    rig.advance(300)
    assert rig.follower.mode is Mode.FOLLOW
    pushed[8] = -12.0
    rig.advance(45)
    assert rig.follower.fault is not None
    assert rig.follower.fault[0] is FaultCode.CONTACT
    assert "right_joint_1 is pushed with -12.0 N m (bound 8.0)" in rig.follower.fault[1]
    rig.advance(400)
    assert rig.follower.mode is Mode.HOLD


def test_an_arm_that_is_driven_into_the_table_is_stopped():
    rig = driven({"left": hand_at((0.0, 0.1, -0.03), 1.2)})
    assert rig.follower.fault is not None
    assert rig.follower.fault[0] is FaultCode.CONTACT
    assert rig.follower.fault[1].startswith("left_joint_")
    assert rig.follower.mode is Mode.HOLD


def test_two_arms_that_are_driven_into_each_other_are_stopped():
    rig = driven({"left": hand_at((0.0, -0.05, 0.15), 0.3), "right": hand_at((0.0, 0.05, 0.15), 0.3, "right")})
    assert rig.follower.fault is not None
    assert rig.follower.fault[0] is FaultCode.CONTACT


def test_after_a_contact_the_arms_can_go_home():
    rig = driven({"left": hand_at((0.0, 0.1, -0.03), 1.2)})
    pressed = np.abs(rig.efforts[-1]) > 0.5
    assert pressed.any()
    rig.home()
    assert rig.follower.fault is None


def test_where_nothing_touches_there_is_no_external_effort():
    robot, t_ns = SimRobot(clock=lambda: 0), 0
    robot.connect()
    seen = []
    swing = np.tile((0.3, 0.2, 0.2, 0.3, 0.3, 0.5, -0.02), 2)
    start = robot.read(0).q
    for tick in range(600):
        t_ns += TICK_NS
        phase = 2.0 * np.pi * tick / 300
        robot.write(t_ns, start + swing * np.sin(phase), swing * np.cos(phase) * 2.0 * np.pi / 1.5)
        seen.append(robot.read(t_ns).external_effort)
    np.testing.assert_array_equal(seen, 0.0)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_joint_at_its_stop_is_no_contact(end):
    robot, t_ns = SimRobot(clock=lambda: 0), 0
    start = robot.connect().q
    robot._lower, robot._upper = start - 9.0, start + 9.0  # noqa: SLF001  the firmware's clipping would keep it away
    goal = start.copy()
    goal[[5, 6, 12, 13]] = (end * 9.0 - 4.5, end, end * 9.0 - 4.5, end)  # roll and gripper, far beyond their range
    for _ in range(400):
        t_ns += TICK_NS
        robot.read(t_ns)
        robot.write(t_ns, goal, np.zeros(N_JOINTS))
    assert np.abs(robot._data.qfrc_constraint[robot._kit.joint_dof[5]]) > 1.0  # noqa: SLF001  the stop does push
    np.testing.assert_array_equal(robot.read(t_ns).external_effort, 0.0)


def test_bounds_leave_a_wide_margin_over_what_the_task_needs():
    rig = SimRig(seed=0, looking=False)
    assert rig.demo(40.0)
    largest = np.abs(rig.efforts).max(axis=0)
    assert (largest[list(GRIPPERS)] > 3.0).any()  # it did hold something
    assert (largest < 0.4 * np.tile(SIM.robot.limits.contact, 2)).all()
