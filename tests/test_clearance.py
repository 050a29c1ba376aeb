"""Distances between the kit's bodies: against geometry, against measuring everything, and against MuJoCo's contacts."""

import mujoco
import numpy as np
import pytest

from controller.config import Guard
from controller.margins import FAR_M
from controller.robots.base import GRIPPERS
from controller.sim import kit, task
from controller.sim.clearance import BODIES, RESERVE_M, Clearance
from policy_server import kinematics, tabletop
from tests.guard_rig import Touching, clearance
from tests.motion_rig import HOME, SETTINGS

PAIRS = [pair.name for pair in clearance().pairs]
CLEARANCES = np.array([pair.clearance_m for pair in clearance().pairs])


def hand_at(position, pitch):
    """Home, but with the left hand at a place in the world."""
    q = HOME.copy()
    where = np.array(position)
    q[:6] = kinematics.inverse(tabletop._hand("left", where, pitch, 0.0), tabletop._guess("left", where))  # noqa: SLF001
    return q


def nearest(path, *names):
    """Least distance of a pair of bodies at each pose."""
    columns = [column for column, name in enumerate(PAIRS) if name == " and ".join(names)]
    assert columns
    return clearance().along(np.atleast_2d(path))[:, columns].min(axis=1)


@pytest.mark.parametrize("height_m", [0.05, 0.02, 0.012, 0.0])
def test_a_finger_above_the_table_is_as_far_as_its_tool_point_says(height_m):
    q = hand_at((0.0, 0.15, task.TABLE_TOP_M + height_m), np.pi / 2)
    found = nearest(q, "left finger", "table")[0]
    assert found == pytest.approx(height_m - tabletop.FINGER_BEYOND_TOOL_M, abs=1e-3)


def test_a_tool_point_beyond_the_workspace_is_negative_by_as_much():
    box = Clearance(Guard(workspace_lower=(-0.4, -0.8, 0.10)))
    q = hand_at((0.0, 0.15, 0.06), 1.2)
    column = [pair.name for pair in box.pairs].index("left tool point and the edge of the workspace")
    assert box.along(q[np.newaxis])[0, column] == pytest.approx(-0.04, abs=1e-4)


def test_home_keeps_clear_of_everything():
    assert (clearance().along(HOME[np.newaxis]) > CLEARANCES).all()
    assert (clearance().along(np.tile(kit.START_POSE, 2)[np.newaxis]) > CLEARANCES).all()


def random_path(seed):
    random = np.random.default_rng(seed)
    ends = SETTINGS.home + random.uniform(-0.8, 0.8, (2, 14))
    ends[:, list(GRIPPERS)] = random.uniform(0.0, 0.04, (2, 2))
    ends = np.clip(ends, SETTINGS.limits.lower, SETTINGS.limits.upper)
    return ends[0] + np.linspace(0.0, 1.0, 51)[:, None] * (ends[1] - ends[0])


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_out_is_never_near_its_clearance(seed):
    """Along a path as measured pose by pose, where nothing can be left out but what is far."""
    path = random_path(seed)
    together = clearance().along(path)
    apart = np.concatenate([clearance().along(q[np.newaxis]) for q in path])
    measured = together < FAR_M
    assert measured.any()
    np.testing.assert_allclose(together[measured], apart[measured], atol=1e-9)
    assert (apart[~measured] > np.broadcast_to(CLEARANCES + RESERVE_M, apart.shape)[~measured] - 1e-9).all()


def test_whatever_touches_in_the_physics_is_at_no_distance():
    """MuJoCo's collision pass, at random poses: every touch of arms, table and each other is seen here."""
    touching, random, touches = Touching(), np.random.default_rng(3), 0
    for _ in range(300):
        q = np.clip(HOME + random.uniform(-1.2, 1.2, 14), SETTINGS.limits.lower, SETTINGS.limits.upper)
        depth, _ = touching.forbidden(q)
        room = (clearance().along(q[np.newaxis]) - CLEARANCES).min()
        touches += depth > 0.0
        assert depth == 0.0 or room < 0.0
    assert touches > 30


def test_every_body_of_the_arms_has_a_name_and_every_pair_the_bound_of_its_kind():
    model = kit.build().model
    moving = {model.body(body).name for body in range(1, model.nbody)} - {"lighter", "cup"}
    assert {name.split("_", 1)[1] for name in moving} == set(BODIES)
    guard = Guard(arm_clearance_m=0.03, table_clearance_m=0.02, finger_table_clearance_m=-0.001)
    bounds = {pair.name: pair.clearance_m for pair in Clearance(guard).pairs}
    assert bounds["left hand and right finger"] == 0.03
    assert bounds["left hand and table"] == bounds["right finger and left post"] == 0.02
    assert bounds["right finger and table"] == -0.001
    assert bounds["left tool point and the edge of the workspace"] == 0.0
    assert not {"left base and table", "left shoulder and table", "left hand and left forearm"} & set(bounds)


def test_the_frame_is_known_by_name():
    around = {name.split(" and ")[1] for name in PAIRS if name.startswith("left hand and ")}
    assert around >= {"table", "left post", "right post", "top bar", "high camera", "low camera", "near left table leg"}
    assert {"floor", "cup", "lighter"}.isdisjoint(around)


def test_boxes_of_the_frame_stand_upright_as_the_quick_test_takes_them_to():
    model = kit.build().model
    fixed = (model.geom_bodyid == 0) & (model.geom_type == mujoco.mjtGeom.mjGEOM_BOX)
    np.testing.assert_allclose(model.geom_quat[fixed], np.tile((1.0, 0.0, 0.0, 0.0), (int(fixed.sum()), 1)), atol=1e-12)
