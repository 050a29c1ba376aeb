"""A policy that answers the same whatever it is shown is recognised, and one that has nothing else to say is not."""

import numpy as np
import pytest

from controller.faults import FaultCode
from controller.stuck import MOVED_RAD, REPEATS, StuckWatch

CHUNK = np.linspace(0.0, 1.0, 50 * 14).reshape(50, 14)


def watched(answers, watch=None, motion_id=7, playing=True):
    """What the watch says to each of (actions, q)."""
    watch = watch or StuckWatch()
    return [watch.answered(motion_id, actions, np.asarray(q, float), playing) for actions, q in answers]


def moving(count, joint=1, step=0.02, actions=CHUNK):
    return [(actions.copy(), step * i * np.eye(14)[joint]) for i in range(count)]


def test_the_same_answer_to_arms_that_move_is_a_fault():
    said = watched(moving(REPEATS + 1))
    assert said[:-1] == [None] * REPEATS
    code, text = said[-1]
    assert code is FaultCode.POLICY_STUCK
    assert "10 answers in a row" in text
    assert "left_joint_1 moved by 0.200 rad (bound 0.05)" in text


def test_however_slowly_they_move():
    said = watched(moving(80, step=0.001))
    assert said.index(next(fault for fault in said if fault)) == 51


def test_the_same_answer_to_arms_at_rest_is_none():
    assert not any(watched(moving(200, step=0.0)))
    assert not any(watched(moving(200, step=MOVED_RAD / 200)))


def test_a_gripper_that_moves_does_not_count():
    assert not any(watched(moving(40, joint=6)))


def test_one_bit_is_a_difference():
    answers = moving(60)
    for number, (actions, _) in enumerate(answers):
        if number % REPEATS == 0:
            actions[49, 13] = np.nextafter(actions[49, 13], 2.0 + number)
    watch = StuckWatch()
    assert not any(watched(answers, watch))
    assert watch.same < REPEATS


def test_it_counts_answers_that_were_the_one_before():
    watch = StuckWatch()
    watched(moving(4, step=0.0), watch)
    assert watch.same == 3
    watched([(CHUNK + 1.0, np.zeros(14))], watch)
    assert watch.same == 0


@pytest.mark.parametrize("other", [{"motion_id": 8}, {"playing": False}])
def test_another_motion_or_a_standing_time_begins_anew(other):
    watch = StuckWatch()
    assert not any(watched(moving(REPEATS), watch))
    assert not any(watched(moving(1, step=1.0), watch, **other))
    assert watch.same == 0
