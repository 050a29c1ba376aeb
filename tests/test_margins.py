"""Which pair comes too near, and what a motion may do that begins where it already is."""

import numpy as np
import pytest

from controller.margins import FAR_M, SLACK_M, Margins, Pair

PAIRS = [Pair("left hand", "right hand", 0.02), Pair("left finger", "table", -0.003), Pair("left hand", None, 0.0)]
CLEAR = (0.05, 0.03, FAR_M)


def margins():
    made = Margins(PAIRS)
    made.begin()
    return made


def judged(made, *poses):
    return made.judge(np.array(poses))


def test_a_clear_path_names_its_tightest_place():
    nearest = judged(margins(), CLEAR, (0.05, 0.01, 0.08), (0.021, 0.03, 0.08))
    assert not nearest.violated
    assert (nearest.pose, nearest.pair, nearest.distance_m, nearest.bound_m) == (2, PAIRS[0], 0.021, 0.02)


def test_the_first_violation_counts_not_the_worst():
    nearest = judged(margins(), CLEAR, (0.05, -0.004, 0.08), (-0.1, -0.1, -0.1))
    assert nearest.violated
    assert (nearest.pose, nearest.pair) == (1, PAIRS[1])


@pytest.mark.parametrize(
    ("pose", "text"),
    [
        ((0.012, 0.03, 0.08), "left hand and right hand would be 12 mm apart (bound 20 mm) in 0.31 s"),
        ((0.05, -0.008, 0.08), "left finger and table would be -8 mm apart (bound -3 mm) in 0.31 s"),
        ((0.05, 0.03, -0.04), "left hand would be 40 mm outside the workspace (bound 0 mm) in 0.31 s"),
    ],
)
def test_the_text_names_bodies_distance_bound_and_moment(pose, text):
    assert judged(margins(), CLEAR, pose).told(0.31) == text


def test_bodies_that_begin_too_near_may_part_but_not_approach():
    begun = (0.005, 0.03, FAR_M)
    assert not judged(margins(), begun, (0.004, 0.03, FAR_M), (0.04, 0.03, FAR_M)).violated
    closer = judged(margins(), begun, (0.002, 0.03, FAR_M))
    assert closer.violated
    assert closer.bound_m == pytest.approx(0.005 - SLACK_M)


def test_what_has_been_gained_is_not_lost_again():
    made = margins()
    judged(made, (0.005, 0.03, FAR_M))
    judged(made, (0.015, 0.03, FAR_M))
    assert judged(made, (0.015, 0.03, FAR_M), (0.010, 0.03, FAR_M)).violated
    judged(made, CLEAR)
    assert judged(made, CLEAR, (0.0195, 0.03, FAR_M)).bound_m == 0.02


def test_creeping_nearer_from_look_to_look_is_seen():
    made, distance = margins(), 0.010
    for _ in range(20):
        distance -= 0.0005
        if judged(made, (distance, 0.03, FAR_M)).violated:
            break
    assert distance == pytest.approx(0.010 - SLACK_M, abs=1.1e-3)


def test_motion_after_motion_creeps_no_nearer():
    made, distance = margins(), 0.021
    for _ in range(20):
        made.begin()
        if judged(made, (distance, 0.03, FAR_M), (distance - 0.0015, 0.03, FAR_M)).violated:
            break
        distance -= 0.0015
        judged(made, (distance, 0.03, FAR_M))
    assert distance == pytest.approx(0.021 - SLACK_M, abs=1.6e-3)
    judged(made, CLEAR)
    made.begin()
    assert judged(made, (0.021, 0.03, FAR_M)).bound_m == pytest.approx(0.021 - SLACK_M), "clear of one another since"


def test_arms_that_a_person_has_moved_nearer_may_part():
    made = margins()
    judged(made, (0.015, 0.03, FAR_M))
    made.begin()
    assert not judged(made, (0.005, 0.03, FAR_M), (0.004, 0.03, FAR_M), CLEAR).violated


def test_a_motion_does_not_inherit_the_leave_of_the_one_before():
    made = margins()
    judged(made, (-0.05, 0.03, FAR_M))
    made.begin()
    judged(made, CLEAR)
    assert judged(made, CLEAR, (0.01, 0.03, FAR_M)).violated


def test_a_pose_off_the_path_leaves_the_bounds_alone():
    made = margins()
    judged(made, (0.005, 0.03, FAR_M))
    assert not made.tightest(np.array([CLEAR])).violated
    assert judged(made, (0.005, 0.03, FAR_M)).bound_m == pytest.approx(0.005 - SLACK_M)
