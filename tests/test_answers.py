"""Answers of a policy server: taken whole or refused whole, and the refusal says which number was wrong."""

import numpy as np
import pytest
from motion_rig import HOME, SIM, joints, still

from controller.answers import Acceptance, AnswerError, actions_from
from controller.layout import MAX_STEPS

ACCEPTANCE = Acceptance.of(SIM)


def check(actions, rate_hz=50.0):
    return actions_from({"actions": actions}, ACCEPTANCE, rate_hz)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_good_actions_come_out_as_float64_of_their_own(dtype):
    given = still(HOME).astype(dtype)
    actions = check(given)
    assert actions.dtype == np.float64
    assert actions.shape == (50, 14)
    np.testing.assert_array_equal(actions, given.astype(np.float64))
    actions[:] = 0.0
    assert given.any()


def test_whole_numbers_are_numbers():
    given = np.tile(np.array([0, 1, 1, 0, 0, 0, 0] * 2), (2, 1))
    np.testing.assert_array_equal(check(given), given)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "the answer has no 'actions': NoneType"),
        ([1.0], "the answer has no 'actions': list"),
        ({}, "the answer has no 'actions': empty"),
        ({"action": 1, "policy_timing": 2}, "the answer has no 'actions': action, policy_timing"),
        ({"actions": [[0.0] * 14] * 50}, "'actions' is list, must be an array of numbers"),
        ({"actions": None}, "'actions' is NoneType, must be an array of numbers"),
        ({"actions": np.zeros((50, 14), bool)}, "'actions' is bool, must be an array of numbers"),
        ({"actions": np.zeros((50, 14), complex)}, "'actions' is complex128, must be an array of numbers"),
        ({"actions": np.full((50, 14), "x")}, "'actions' is <U1, must be an array of numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(answer, text):
    with pytest.raises(AnswerError) as error:
        actions_from(answer, ACCEPTANCE, 50.0)
    assert str(error.value) == text


@pytest.mark.parametrize("shape", [(14,), (50, 7), (50, 15), (1, 14), (0, 14), (MAX_STEPS + 1, 14), (1, 50, 14), ()])
def test_a_wrong_shape_is_refused_with_the_right_one(shape):
    with pytest.raises(AnswerError) as error:
        check(np.zeros(shape))
    assert str(error.value) == f"'actions' has shape {shape}, must be (2..{MAX_STEPS}, 14)"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_by_action_and_joint(value):
    actions = still(HOME)
    actions[7, 9] = value
    with pytest.raises(AnswerError) as error:
        check(actions)
    assert str(error.value) == f"action 7 of right_joint_2 is {value}"


def test_an_action_far_outside_is_refused_with_value_and_bounds():
    actions = still(HOME)
    actions[3:, 1] = -0.5
    with pytest.raises(AnswerError) as error:
        check(actions)
    assert str(error.value) == "action 3 of left_joint_1 = -0.5000 lies outside 0.0010..3.1406 by more than 0.0300"


def test_a_little_overshoot_is_clamped_to_the_limit():
    actions = check(still(HOME + joints(ACCEPTANCE.upper[6] + 0.004 - HOME[6], 6)))
    assert (actions[:, 6] == ACCEPTANCE.upper[6]).all()
    others = [joint for joint in range(14) if joint != 6]
    assert (actions[:, others] == HOME[others]).all()


def test_a_step_that_no_arm_can_make_is_refused_with_speed_and_bound():
    actions = still(HOME)
    actions[20:] += joints(0.3)
    with pytest.raises(AnswerError) as error:
        check(actions)
    assert str(error.value) == "left_joint_0 moves at 15.00 rad/s from action 19 to 20 (bound 12.57)"
    assert check(actions, rate_hz=30.0).shape == (50, 14)  # the same step takes longer there


def test_a_gripper_may_open_in_one_step():
    actions = still(HOME)
    actions[20:, 6] = 0.0
    np.testing.assert_array_equal(check(actions), actions)
