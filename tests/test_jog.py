"""A jog: one joint, a little, inside the limits; and the supervisor's moves to a pose."""

import asyncio

import numpy as np
import pytest
from supervisor_rig import Rig, reading

from controller import layout
from controller.config_robot import both_arms
from controller.jog import Jog, JogError
from controller.refused import Refused
from controller.robots.base import JOINT_NAMES
from controller.states import State

LOWER, UPPER = np.full(14, -1.0), np.full(14, 1.0)


@pytest.mark.parametrize(
    ("joint", "by", "reason"),
    [
        ("joint_1", 0.05, "joint='joint_1' is none of left_joint_0"),
        ("left_joint_1", 0.0, "and not by 0"),
        ("left_joint_1", 0.1001, "left_joint_1 jogs by at most 0.1 rad"),
        ("left_joint_1", float("nan"), "by=nan"),
        ("left_joint_1", float("-inf"), "by=-inf"),
        ("right_left_carriage_joint", -0.011, "at most 0.01 m"),
    ],
)
def test_a_jog_is_one_known_joint_by_a_little(joint, by, reason):
    with pytest.raises(JogError, match=reason):
        Jog(joint, by)


@pytest.mark.parametrize("joint", [0, 6, 9, 13])
def test_it_changes_one_joint_and_leaves_the_hold_alone(joint):
    held = np.linspace(-0.5, 0.5, 14)
    before = held.copy()
    goal = Jog(JOINT_NAMES[joint], 0.01).goal(held, LOWER, UPPER)
    np.testing.assert_array_equal(held, before)
    np.testing.assert_allclose(goal - held, 0.01 * np.eye(14)[joint])


def test_it_does_not_lead_out_of_the_limits_but_back_into_them():
    held = np.zeros(14)
    held[2], held[3] = 0.97, -1.05
    with pytest.raises(JogError, match=r"left_joint_2 is held at 0.9700 rad: \+0.0500 leads out of its limits"):
        Jog("left_joint_2", 0.05).goal(held, LOWER, UPPER)
    with pytest.raises(JogError, match="left_joint_3"):
        Jog("left_joint_3", -0.01).goal(held, LOWER, UPPER)
    assert Jog("left_joint_3", 0.02).goal(held, LOWER, UPPER)[3] == pytest.approx(-1.03)


@pytest.fixture
def rig():
    made = Rig()
    made.joints["q_command"] = both_arms(made.config.robot.homing.pose)
    reading(made, both_arms(made.config.robot.homing.pose))
    yield made
    made.close()


def permit(rig):
    record = np.zeros((), layout.PERMIT)
    rig.supervisor.owned.rings["permit"].reader().newest(record)
    return record


def test_a_jog_begins_a_motion_to_the_held_pose_with_one_joint_changed(rig):
    asyncio.run(rig.supervisor.jog(Jog("right_joint_4", 0.05), 0.1))
    record = permit(rig)
    assert rig.state is State.HOMING
    assert (int(record["state"]), float(record["speed"])) == (State.HOMING.code, 0.1)
    np.testing.assert_allclose(record["goal"] - rig.joints["q_command"], 0.05 * np.eye(14)[11])


def test_a_jog_out_of_the_limits_is_refused_and_changes_nothing(rig):
    before = permit(rig)
    with pytest.raises(Refused, match=r"left_left_carriage_joint is held at 0.0400 m") as refused:
        asyncio.run(rig.supervisor.jog(Jog("left_left_carriage_joint", 0.01), 0.1))
    assert "jog" in refused.value.allowed
    assert rig.state is State.IDLE
    assert int(permit(rig)["motion_id"]) == int(before["motion_id"])


def test_a_jog_is_refused_while_something_moves(rig):
    rig.bring_to(State.HOMING)
    with pytest.raises(Refused, match="jog is not possible in state homing"):
        asyncio.run(rig.supervisor.jog(Jog("left_joint_0", 0.05), 0.1))


def test_home_goes_to_the_configured_pose_at_the_speed_that_was_asked_for(rig):
    asyncio.run(rig.supervisor.home(0.2))
    record = permit(rig)
    np.testing.assert_array_equal(record["goal"], both_arms(rig.config.robot.homing.pose))
    assert float(record["speed"]) == 0.2


def test_a_run_has_no_goal(rig):
    rig.bring_to(State.RUNNING)
    assert np.isnan(permit(rig)["goal"]).all()
