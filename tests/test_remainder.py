"""What is left of a chunk, as the next request carries it."""

import numpy as np
import pytest

from controller.pacing import Followed
from controller.playback import Playback
from controller.remainder import KEPT, Delivered

MS = 1_000_000
BEGIN_NS = 10_000 * MS
ACTIONS = np.linspace(0.0, 4.9, 50)[:, None] + np.zeros(14)
"""Action k is k / 10, so that a row tells where it was taken."""


def plan(speed=1.0, tau0_ms=0, chunk_id=5, playing=True):
    playback = Playback(BEGIN_NS, 0, speed, speed, 0.4) if playing else Playback.standing(BEGIN_NS, 0.4)
    return Followed(BEGIN_NS, 7, playing, playback, chunk_id, tau0_ms * MS, 50.0)


def rest(t_ms, delay_s=0.1, horizon=None, **changes):
    delivered = Delivered()
    delivered.remember(5, ACTIONS)
    return delivered.remainder(plan(**changes), BEGIN_NS + t_ms * MS, delay_s, horizon)


@pytest.mark.parametrize(("t_ms", "first", "count"), [(0, 0.0, 50), (200, 1.0, 40), (210, 1.05, 39), (980, 4.9, 1)])
def test_it_begins_with_the_step_at_the_observation(t_ms, first, count):
    left = rest(t_ms).actions
    assert left.shape == (count, 14)
    np.testing.assert_allclose(left[:, 0], first + 0.1 * np.arange(count), atol=2e-2)


@pytest.mark.parametrize(("speed", "first", "steps"), [(1.0, 2.0, 5), (0.5, 1.0, 3), (0.1, 0.2, 1)])
def test_at_less_than_full_speed_less_of_it_is_past(speed, first, steps):
    left = rest(400, speed=speed)
    assert left.actions[0, 3] == pytest.approx(first, abs=1e-6)
    assert left.delay_steps == steps


def test_a_first_chunk_counts_from_where_control_put_it():
    """The run began at 10 s with action 0 of a chunk that was observed long before, and time stood until then."""
    np.testing.assert_allclose(rest(60).actions[0], ACTIONS[3], atol=6e-3)
    np.testing.assert_allclose(rest(60, tau0_ms=40).actions[0], ACTIONS[1], atol=6e-3)


def test_while_the_policy_s_time_stands_all_of_it_is_left():
    left = rest(300, playing=False)
    np.testing.assert_allclose(left.actions, ACTIONS, atol=1e-12)
    assert left.delay_steps == 0


def test_speed_that_changes_before_the_answer_counts():
    playback = Playback(BEGIN_NS, 0, 0.0, 1.0, 0.4)
    delivered = Delivered()
    delivered.remember(5, ACTIONS)
    starting = Followed(BEGIN_NS, 7, True, playback, 5, 0, 50.0)
    left = delivered.remainder(starting, BEGIN_NS, 0.6, None)
    assert left.delay_steps == 20, "0.2 s while the speed rises, and 0.2 s"


@pytest.mark.parametrize(("delay_s", "steps"), [(0.0, 0), (0.02, 1), (0.021, 2), (0.1, 5), (9.0, 25)])
def test_the_expected_delay_in_whole_steps_is_no_longer_than_the_rest(delay_s, steps):
    assert rest(500, delay_s=delay_s).delay_steps == steps


def test_no_more_than_the_server_s_horizon_and_no_less_than_one():
    assert rest(0, horizon=12).actions.shape == (12, 14)
    over = rest(5_000)
    np.testing.assert_array_equal(over.actions, ACTIONS[-1:])
    assert over.delay_steps == 1


def test_of_a_chunk_that_is_not_remembered_there_is_none():
    assert rest(0, chunk_id=6) is None
    delivered = Delivered()
    for chunk_id in range(KEPT + 1):
        delivered.remember(chunk_id, ACTIONS)
    assert delivered.remainder(plan(chunk_id=0), BEGIN_NS, 0.1, None) is None
    assert delivered.remainder(plan(chunk_id=1), BEGIN_NS, 0.1, None) is not None
