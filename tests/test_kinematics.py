"""The arm's kinematics against the published values and the simulated kit."""

import math

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.sim import kit
from policy_server import kinematics
from policy_server.kinematics import LOWER, UPPER, Pose, UnreachableError

STAGED = np.array((0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0))
joints = st.tuples(*(st.floats(low, high) for low, high in zip(LOWER, UPPER, strict=True))).map(np.array)


@pytest.fixture(scope="module")
def built():
    return kit.build()


def simulated(built, q):
    data = mujoco.MjData(built.model)
    data.qpos[built.joint_qpos[:6]] = q
    mujoco.mj_forward(built.model, data)
    base = data.body("left_base_link")
    site = data.site("left_tool")
    turn = base.xmat.reshape(3, 3).T
    across = np.zeros((3, built.model.nv))
    along = np.zeros((3, built.model.nv))
    mujoco.mj_jacSite(built.model, data, across, along, site.id)
    dofs = built.joint_dof[:6]
    return turn @ (site.xpos - base.xpos), turn @ site.xmat.reshape(3, 3), turn @ across[:, dofs], turn @ along[:, dofs]


def test_staged_pose_gives_the_published_tool():
    pose = kinematics.forward(STAGED)
    np.testing.assert_allclose(pose.position, (0.3815, 0, 0.2880), atol=1e-4)
    np.testing.assert_allclose(pose.rotation[:, 0], (0.995, 0, 0.105), atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(joints)
def test_forward_and_jacobian_equal_the_simulation(built, q):
    position, rotation, across, along = simulated(built, q)
    pose = kinematics.forward(q)
    np.testing.assert_allclose(pose.position, position, atol=1e-9)
    np.testing.assert_allclose(pose.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(kinematics.jacobian(q), np.vstack((across, along)), atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(joints.map(lambda q: 0.15 * q + 0.85 * STAGED), joints.map(lambda q: 0.1 * q + 0.9 * STAGED))
def test_inverse_undoes_forward(goal, start):
    target = kinematics.forward(goal)
    found = kinematics.inverse(target, start)
    assert (found >= LOWER).all()
    assert (found <= UPPER).all()
    reached = kinematics.forward(found)
    np.testing.assert_allclose(reached.position, target.position, atol=2e-4)
    np.testing.assert_allclose(reached.rotation, target.rotation, atol=2e-3)


def test_a_target_out_of_reach_is_named():
    target = Pose(np.array((0.9, 0.0, 0.2)), np.eye(3))
    with pytest.raises(UnreachableError, match=r"0\.9"):
        kinematics.inverse(target, STAGED)


def test_a_target_beyond_the_joint_limits_is_refused():
    behind = kinematics.rotation_about(np.array((0.0, 0.0, 1.0)), math.pi)
    with pytest.raises(UnreachableError):
        kinematics.inverse(Pose(np.array((0.3, 0.0, 0.05)), behind), STAGED)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, math.pi - 1e-3, math.pi])
def test_any_turn_is_measured(angle):
    axis = np.array((2.0, -1.0, 2.0)) / 3.0
    start = kinematics.forward(STAGED)
    turned = Pose(start.position, kinematics.rotation_about(axis, angle))
    vector = kinematics._rotation_vector(turned.rotation)  # noqa: SLF001
    assert np.linalg.norm(vector) == pytest.approx(angle, abs=1e-6)
