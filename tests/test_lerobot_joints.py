"""A LeRobot robot's features become our joint vector by name and unit, or the robot is refused."""

import re

import numpy as np
import pytest
from lerobot_rig import HOME

from controller.config_lerobot import Units
from controller.robots.base import JOINT_NAMES, N_JOINTS
from controller.robots.lerobot_joints import JointMap, Mismatch, implausible

SI = Units(arm="rad", gripper="m")
FEATURES = {f"{name}.pos": float for name in sorted(JOINT_NAMES, reverse=True)}
SEEN = {f"{name}.pos": HOME[name] for name in sorted(JOINT_NAMES)}
Q = np.array([HOME[name] for name in JOINT_NAMES])


def test_joints_are_matched_by_name_whatever_their_order():
    joints = JointMap({}, SI, FEATURES, FEATURES)
    np.testing.assert_array_equal(joints.q(SEEN), Q)
    assert joints.action(Q) == SEEN
    assert all(type(value) is float for value in joints.action(Q).values())


def test_a_robot_may_call_its_joints_otherwise():
    theirs = {**FEATURES, "elbow.pos": float}
    del theirs["right_joint_2.pos"]
    joints = JointMap({"right_joint_2": "elbow.pos"}, SI, theirs, theirs)
    seen = {**SEEN, "elbow.pos": 1.5}
    assert joints.q(seen)[JOINT_NAMES.index("right_joint_2")] == 1.5
    assert joints.action(joints.q(seen))["elbow.pos"] == 1.5


def test_units_are_converted_there_and_back():
    joints = JointMap({}, Units(arm="deg", gripper="mm"), FEATURES, FEATURES)
    seen = dict.fromkeys(FEATURES, 90.0) | {"left_left_carriage_joint.pos": 40.0}
    q = joints.q(seen)
    assert q[0] == pytest.approx(np.pi / 2)
    assert q[6] == pytest.approx(0.04)
    assert joints.action(q) == pytest.approx(seen)


def test_velocities_and_efforts_are_taken_where_every_joint_has_them():
    named = {f"{name}{suffix}": float for name in JOINT_NAMES for suffix in (".pos", ".vel", ".eff", ".ext_eff")}
    seen = {name: float(JOINT_NAMES.index(name.split(".")[0])) for name in named}
    joints = JointMap({}, Units(arm="deg", gripper="m"), named, FEATURES, efforts=True)
    assert joints.qd(seen)[5] == pytest.approx(np.deg2rad(5.0))
    assert joints.effort(seen)[5] == 5.0
    assert joints.external_effort(seen)[13] == 13.0
    assert np.isnan(JointMap({}, SI, named, FEATURES).effort(seen)).all(), "units that nobody knows"


def test_what_is_not_told_is_not_made_up():
    partly = {**FEATURES, "left_joint_0.vel": float, "left_joint_0.ext_eff": float}
    joints = JointMap({}, SI, partly, FEATURES, efforts=True)
    assert joints.qd(SEEN) is None
    assert np.isnan(joints.effort(SEEN)).all()
    assert np.isnan(joints.external_effort(SEEN)).all()


def without(name):
    return {key: kind for key, kind in FEATURES.items() if key != name}


REFUSED = {
    "observation lacks a joint": (
        ({}, without("left_joint_3.pos"), FEATURES),
        "left_joint_3: observation feature 'left_joint_3.pos' is not there; the robot has right_left_carriage_joint",
    ),
    "action lacks a joint": (
        ({}, FEATURES, without("left_joint_3.pos")),
        "left_joint_3: action feature 'left_joint_3.pos' is not there",
    ),
    "a picture for a joint": (
        ({"left_joint_0": "cam"}, {**FEATURES, "cam": (480, 640, 3)}, FEATURES),
        "left_joint_0: observation feature 'cam' is (480, 640, 3), not a number",
    ),
    "one feature for two joints": (
        ({"left_joint_0": "left_joint_1.pos"}, FEATURES, FEATURES),
        "robot.lerobot.names gives left_joint_1.pos to more than one joint",
    ),
    "more to move than this kit has": (
        ({}, FEATURES, {**FEATURES, "torso.pos": float}),
        "the robot also wants torso.pos in each action, which is no joint of this kit",
    ),
    "cameras in the motor process": (
        ({}, {**FEATURES, "cam_high": (480, 640, 3)}, FEATURES),
        "each observation would wait for cam_high; take cameras out",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_robot_that_is_not_this_kit_is_refused(why):
    (names, observation, action), message = REFUSED[why]
    with pytest.raises(Mismatch, match=re.escape(message)):
        JointMap(names, SI, observation, action)


def test_an_observation_that_lacks_what_was_promised_is_an_error():
    with pytest.raises(KeyError, match=r"left_joint_0\.pos"):
        JointMap({}, SI, FEATURES, FEATURES).q({})


LOWER, UPPER = np.full(N_JOINTS, -1.5), np.full(N_JOINTS, 1.5)


def test_degrees_taken_for_radians_are_noticed():
    q = np.zeros(N_JOINTS)
    assert implausible(q, LOWER, UPPER) == ""
    q[8] = 1.8  # a little outside: an arm that was left there
    assert implausible(q, LOWER, UPPER) == ""
    q[8] = 60.0
    assert "right_joint_1 reads 60.000, outside -1.500..1.500: is its unit another one" in implausible(q, LOWER, UPPER)
    q[8], q[6] = 0.0, 1.6
    assert "left_left_carriage_joint reads 1.600" in implausible(q, LOWER, UPPER)
