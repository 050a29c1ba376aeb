"""The simulated kit against the numbers published for the real one."""

import math

import mujoco
import numpy as np
import pytest

from controller.robots.base import ARM_JOINTS, JOINT_NAMES
from controller.sim import kit, task

STAGED = (0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def built():
    return kit.build()


@pytest.fixture
def data(built):
    data = mujoco.MjData(built.model)
    data.qpos[built.environment_qpos] = task.layout(0)
    return data


def pose(built, data, arm, gripper=0.0):
    full = np.tile([*arm[:6], gripper], 2)
    data.qpos[built.joint_qpos] = full
    data.qpos[built.mimic_qpos] = gripper
    mujoco.mj_forward(built.model, data)


@pytest.mark.parametrize(
    ("arm", "tool", "approach", "gravity"),
    [
        ((0,) * 7, (0.2537, 0, 0.1635), (1, 0, 0), (0.59, 6.97, 1.76)),
        (STAGED, (0.3815, 0, 0.2880), (0.995, 0, 0.105), (-3.12, 6.90, 1.72)),
        ((0, math.pi / 12, math.pi / 12, 0, 0, 0, 0), (0.2627, 0, 0.2318), (1, 0, 0), (0.34, 6.97, 1.76)),
        ((0, math.pi / 2, math.pi / 2, 0, 0, 0, 0), (0.5177, 0, 0.4275), (1, 0, 0), (-6.97, 6.97, 1.76)),
    ],
)
@pytest.mark.parametrize("side", kit.SIDES)
def test_forward_kinematics_and_gravity_match_the_published_values(built, data, side, arm, tool, approach, gravity):
    pose(built, data, arm)
    base = data.body(f"{side}_base_link")
    to_base = base.xmat.reshape(3, 3).T
    site = data.site(f"{side}_tool")
    np.testing.assert_allclose(to_base @ (site.xpos - base.xpos), tool, atol=1.2e-4)
    np.testing.assert_allclose(to_base @ site.xmat.reshape(3, 3)[:, 0], approach, atol=1e-3)
    dofs = [built.model.joint(f"{side}_joint_{index}").dofadr[0] for index in (1, 2, 3)]
    np.testing.assert_allclose(data.qfrc_bias[dofs], gravity, atol=0.05)


@pytest.mark.parametrize(
    ("camera", "position", "look", "up"),
    [
        ("cam_high", (-0.3247, 0.009, 1.0478), (0.4225, 0, -0.9064), (0.9064, 0, 0.4225)),
        ("cam_low", (-0.3785, 0.009, 0.0511), (0.9954, 0, 0.0959), (-0.0959, 0, 0.9954)),
        ("cam_left_wrist", (-0.011, 0.1785, 0.3709), (0, -0.9703, -0.242), (0, -0.242, 0.9703)),
        ("cam_right_wrist", (-0.029, -0.1785, 0.3709), (0, 0.9703, -0.242), (0, 0.242, 0.9703)),
    ],
)
def test_cameras_look_where_the_published_ones_look(built, data, camera, position, look, up):
    pose(built, data, STAGED)
    axes = data.camera(camera).xmat.reshape(3, 3)
    np.testing.assert_allclose(data.camera(camera).xpos, position, atol=2e-4)
    np.testing.assert_allclose(-axes[:, 2], look, atol=5e-4)
    np.testing.assert_allclose(axes[:, 1], up, atol=5e-4)


def test_actuators_follow_the_joint_order(built):
    assert [built.model.actuator(index).name for index in range(built.model.nu)] == list(JOINT_NAMES)


def test_joints_carry_the_published_limits_armature_and_gains(built):
    for side in kit.SIDES:
        for name, (kp, kv) in zip(ARM_JOINTS, kit.GAINS, strict=True):
            actuator = built.model.actuator(f"{side}_{name}")
            assert actuator.gainprm[0] == kp
            assert tuple(actuator.biasprm[1:3]) == (-kp, -kv)
        elbow = built.model.joint(f"{side}_joint_2")
        assert tuple(elbow.range) == (0.0, 2.35619)
        assert elbow.armature[0] == 0.032
        assert built.model.body(f"{side}_link_2").mass[0] == 1.1532


def test_both_fingers_move_when_one_is_driven(built, data):
    pose(built, data, STAGED, gripper=0.0)
    data.ctrl[:] = data.qpos[built.joint_qpos]
    data.ctrl[[6, 13]] = 0.03
    mujoco.mj_step(built.model, data, 500)
    np.testing.assert_allclose(data.qpos[built.joint_qpos[[6, 13]]], 0.03, atol=1e-3)
    np.testing.assert_allclose(data.qpos[built.mimic_qpos], 0.03, atol=1e-3)


def test_gravity_is_compensated_in_every_arm_pose(built, data):
    pose(built, data, STAGED)
    data.ctrl[:] = data.qpos[built.joint_qpos]
    mujoco.mj_step(built.model, data, 500)
    np.testing.assert_allclose(data.qpos[built.joint_qpos], data.ctrl, atol=1e-4)


def test_the_arms_collide_in_the_pose_where_the_real_ones_do(built, data):
    pose(built, data, (0, math.pi / 2, math.pi / 2, 0, 0, 0, 0))
    bodies = built.model.geom_bodyid[data.contact.geom]
    names = {tuple(sorted(built.model.body(body).name.split("_")[0] for body in pair)) for pair in bodies}
    assert ("left", "right") in names


@pytest.mark.parametrize("seed", range(20))
def test_a_laid_out_scene_stays_where_it_was_put(built, seed):
    data = mujoco.MjData(built.model)
    pose(built, data, STAGED)
    data.ctrl[:] = data.qpos[built.joint_qpos]
    placed = task.layout(seed)
    data.qpos[built.environment_qpos] = placed
    mujoco.mj_step(built.model, data, 500)
    np.testing.assert_allclose(data.qpos[built.environment_qpos], placed, atol=1.5e-3)
    assert not task.lighter_in_cup(data.qpos[built.environment_qpos])


def test_layouts_repeat_by_seed_and_differ_between_seeds():
    np.testing.assert_array_equal(task.layout(3), task.layout(3))
    assert np.abs(task.layout(3) - task.layout(4)).max() > 0.01


def test_a_lighter_dropped_into_the_cup_is_in_the_cup(built, data):
    pose(built, data, STAGED)
    data.ctrl[:] = data.qpos[built.joint_qpos]
    environment = task.layout(1)
    upright = (math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0)
    environment[:7] = (*environment[7:9], task.TABLE_TOP_M + 0.14, *upright)
    data.qpos[built.environment_qpos] = environment
    assert not task.lighter_in_cup(environment)
    mujoco.mj_step(built.model, data, 1000)
    assert task.lighter_in_cup(data.qpos[built.environment_qpos])


def test_a_lighter_in_a_fallen_cup_does_not_count():
    environment = task.layout(1)
    environment[7:14] = (0.0, 0.0, 0.05, math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
    environment[:3] = (0.0, -0.04, 0.05)
    assert not task.lighter_in_cup(environment)


@pytest.mark.parametrize("bad", [[0.0] * 13, [math.nan] * 14])
def test_judging_refuses_what_is_no_environment(bad):
    with pytest.raises(ValueError, match="14 finite numbers"):
        task.lighter_in_cup(bad)
