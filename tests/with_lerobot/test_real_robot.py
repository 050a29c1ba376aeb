"""The lerobot robot adapter on the LeRobot that is installed, driving the simulated kit as any plug-in's robot."""

import gc
import inspect
import logging
import time

import numpy as np
import pytest
from lerobot_rig import lerobot_config

from controller import lerobot_library
from controller.lerobot_library import LerobotError
from controller.robots.base import JOINT_NAMES, N_JOINTS, RobotError
from controller.robots.lerobot import LerobotRobot

STILL = np.zeros(N_JOINTS)


def adapter(**table):
    return LerobotRobot(lerobot_config(**table).robot, again=False, world_writer=None, world_reader=None)


def test_a_plug_in_is_found_by_its_distribution_and_its_joints_by_name():
    from lerobot_robot_pi0sim import Pi0Sim

    robot = adapter(config={"seed": 3})
    assert isinstance(robot.scene, Pi0Sim)
    assert list(robot.scene.action_features) != [f"{name}.pos" for name in JOINT_NAMES]
    start = robot.connect()
    goal = start.q + np.where(np.arange(N_JOINTS) == 8, 0.05, 0.0)  # right_joint_1
    robot.write(0, goal, STILL)
    now = start
    while abs(now.q[8] - goal[8]) > 0.005:
        now = robot.read(time.monotonic_ns())
    assert np.abs(now.q - start.q)[np.arange(N_JOINTS) != 8].max() < 0.02
    assert now.qd.shape == (N_JOINTS,)
    robot.disconnect()
    assert not robot.scene.is_connected


def test_a_robot_that_is_thrown_away_is_not_disconnected(monkeypatch):
    from lerobot.robots import Robot
    from lerobot_robot_pi0sim import Pi0Sim

    called = []
    monkeypatch.setattr(Pi0Sim, "disconnect", lambda self: called.append(self))
    robot = lerobot_library.make_robot("pi0sim", {})
    robot.connect()
    assert lerobot_library.finalizers(robot) == []
    del robot
    gc.collect()
    assert called == []
    assert "__del__" not in vars(Robot)


def test_a_class_with_a_finalizer_of_its_own_is_noticed_in_parts_too():
    from lerobot_robot_pi0sim import Pi0Sim, Pi0SimConfig

    robot = lerobot_library.make_robot("pi0sim", {})
    robot.left_arm = type("Arm", (Pi0Sim,), {"__del__": lambda self: None})(Pi0SimConfig())
    assert lerobot_library.finalizers(robot) == ["Arm"]


def test_logging_stays_ours():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    adapter()
    assert (root.handlers[:], root.level) == before


def test_the_interface_is_the_one_that_the_adapter_calls():
    from lerobot.robots import Robot

    assert list(inspect.signature(Robot.connect).parameters) == ["self", "calibrate"]
    assert list(inspect.signature(Robot.send_action).parameters) == ["self", "action"]
    assert list(inspect.signature(Robot.get_observation).parameters) == ["self"]
    assert list(inspect.signature(Robot.disconnect).parameters) == ["self"]
    for name in ("is_calibrated", "observation_features", "action_features"):
        assert isinstance(inspect.getattr_static(Robot, name), property)


WRONG = {
    "unknown type": ("my_kit", {}, "type 'my_kit' is not known to LeRobot here; known: .*pi0sim"),
    "unknown key": ("pi0sim", {"sead": 3}, "DecodingError: The fields `sead` are not valid for Pi0SimConfig"),
    "wrong type": ("pi0sim", {"seed": "three"}, "DecodingError: `seed`"),
    "no SDK": ("lekiwi", {}, "ModuleNotFoundError: No module named "),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_lerobot_cannot_make_is_told(name):
    kind, table, message = WRONG[name]
    with pytest.raises(LerobotError, match=message):
        lerobot_library.make_robot(kind, table)
    units = {"arm": "rad", "gripper": "m"}
    with pytest.raises(RobotError, match=message):
        adapter(type=kind, config=table, allow_moves=["connect"], units=units)


def test_a_robot_of_lerobots_own_that_is_no_kit_is_refused_by_its_joints(monkeypatch):
    from lerobot_robot_pi0sim import Pi0Sim

    monkeypatch.setattr(Pi0Sim, "action_features", {"shoulder_pan.pos": float})
    with pytest.raises(RobotError, match=r"left_joint_0: action feature 'left_joint_0\.pos' is not there"):
        adapter()
