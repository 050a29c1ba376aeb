"""Moves from ruckig: they start and end where they should and keep their bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.hermite import State
from controller.moves import Bounds, MoveError, chase, stop, to_pose

BOUNDS = Bounds(np.array([1.0, 0.2]), np.array([4.0, 1.0]), np.array([60.0, 15.0]))
pairs = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(np.array)


def at_rest(q):
    return State(np.asarray(q, float), np.zeros(2), np.zeros(2))


def sampled(move, n=300):
    return [move.at(t_s) for t_s in np.linspace(0.0, move.duration_s, n)]


def keeps(states, bounds, tolerance=1e-6):
    qd, qdd = np.array([s.qd for s in states]), np.array([s.qdd for s in states])
    return bool(
        (np.abs(qd) <= bounds.velocity + tolerance).all() and (np.abs(qdd) <= bounds.acceleration + tolerance).all()
    )


@settings(max_examples=50, deadline=None)
@given(pairs, pairs)
def test_to_pose_goes_from_rest_to_rest_within_the_bounds(start, goal):
    move = to_pose(at_rest(start), goal, BOUNDS)
    states = sampled(move)
    np.testing.assert_allclose(states[0].q, start, atol=1e-9)
    np.testing.assert_allclose(states[-1].q, goal, atol=1e-9)
    np.testing.assert_allclose(states[-1].qd, 0.0, atol=1e-9)
    assert keeps(states, BOUNDS)


def test_to_pose_brings_all_joints_home_together():
    move = to_pose(at_rest([0.0, 0.0]), np.array([0.8, 0.01]), BOUNDS)
    assert np.abs(move.at(0.9 * move.duration_s).q - [0.8, 0.01]).min() > 1e-6


def test_before_and_after_a_move_are_its_ends():
    move = to_pose(at_rest([0.0, 0.0]), np.array([0.5, 0.1]), BOUNDS)
    assert (move.at(-1.0).q == move.at(0.0).q).all()
    assert (move.at(move.duration_s + 9.0).q == move.at(move.duration_s).q).all()


@settings(max_examples=100, deadline=None)
@given(pairs, pairs, pairs, pairs, pairs)
def test_a_chase_rejoins_what_it_runs_after(q0, qd0, qdd0, q, qd):
    start = State(q0, qd0 * BOUNDS.velocity, 2.0 * qdd0 * BOUNDS.acceleration)
    pace, long_s = 0.9 * qd * BOUNDS.velocity, 300.0
    np.testing.assert_allclose(chase(start, q, pace, 0.0, BOUNDS).q, q0, atol=1e-9)
    end = chase(start, q + long_s * pace, pace, long_s, BOUNDS)
    np.testing.assert_allclose(end.q, q + long_s * pace, atol=1e-6)
    np.testing.assert_allclose(end.qd, pace, atol=1e-7)
    on_the_way = [chase(start, q + t_s * pace, pace, t_s, BOUNDS) for t_s in np.linspace(0.0, 5.0, 100)]
    assert keeps(on_the_way[10:], BOUNDS, tolerance=1e-3)


def test_whoever_is_behind_does_not_take_a_run():
    start, pace = at_rest([0.0, 0.0]), np.array([0.9, 0.18])
    way = np.array([chase(start, t_s * pace, pace, t_s, BOUNDS).q for t_s in np.linspace(0.0, 5.0, 100)])
    assert (np.diff(way, axis=0) >= -1e-12).all()


def test_a_chase_comes_down_to_the_bound_from_a_velocity_above_it():
    start = State(np.zeros(2), np.array([1.3, 0.26]), np.zeros(2))
    end = chase(start, np.array([3.0, 3.0]), np.zeros(2), 0.2, BOUNDS)
    assert (end.qd <= BOUNDS.velocity + 1e-9).all()


def test_a_goal_that_is_faster_than_may_be_is_run_after_at_the_largest_velocity():
    end = chase(at_rest([0.0, 0.0]), np.array([9.0, 9.0]), np.array([5.0, -5.0]), 3.0, BOUNDS)
    np.testing.assert_allclose(np.abs(end.qd), BOUNDS.velocity, rtol=2e-3)


@settings(max_examples=100, deadline=None)
@given(pairs, pairs, pairs)
def test_stop_ends_at_rest_as_soon_as_the_bounds_allow(q, qd, qdd):
    start = State(q, 3.0 * qd, qdd * BOUNDS.acceleration)
    move = stop(start, BOUNDS)
    end = move.at(move.duration_s)
    np.testing.assert_allclose(move.at(0.0).q, q, atol=1e-12)
    np.testing.assert_allclose(end.qd, 0.0, atol=1e-9)
    np.testing.assert_allclose(end.qdd, 0.0, atol=1e-9)
    turn_s = 2.0 * BOUNDS.acceleration / BOUNDS.jerk
    longest_s = np.max((np.abs(start.qd) + BOUNDS.acceleration * turn_s) / BOUNDS.acceleration + turn_s)
    assert move.duration_s <= longest_s


def test_an_impossible_move_is_an_error():
    with pytest.raises(MoveError, match="no move within the limits"):
        to_pose(at_rest([0.0, 0.0]), np.array([np.nan, 0.0]), BOUNDS)
