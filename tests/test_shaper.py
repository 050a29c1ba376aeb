"""The shaper: what fits passes untouched; what does not is bounded, and rejoins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_rig import SETTINGS

from controller.hermite import Piece, State
from controller.moves import Bounds
from controller.shaper import STEEPER, Range, bounded, fits, shape

MS = 1_000_000
H_NS, TICK_NS = 60 * MS, 20 * MS
LIMITS = Range(np.array([-1.0, 0.0]), np.array([1.0, 0.04]))
BOUNDS = Bounds(np.array([3.0, 0.2]), np.array([15.0, 4.0]), np.array([2500.0, 600.0]))


def state(q, qd=(0.0, 0.0)):
    return State(np.array(q, float), np.array(qd, float), np.zeros(2))


def test_motion_that_fits_passes_bit_for_bit():
    start = state([0.1, 0.02], [0.5, 0.01])
    q, qd = np.array([0.1301, 0.0206]), np.array([0.48, 0.0123])
    piece, limited = shape(start, 0, H_NS, q, qd, LIMITS, BOUNDS)
    assert not limited
    assert (piece.q0 == start.q).all()
    assert (piece.qd0 == start.qd).all()
    assert (piece.q1 == q).all()
    assert (piece.qd1 == qd).all()


def test_a_joint_that_fits_is_left_alone_while_another_is_shaped():
    q, qd = np.array([0.9, 0.0206]), np.array([0.0, 0.01])
    piece, limited = shape(state([0.1, 0.02], [0.0, 0.01]), 0, H_NS, q, qd, LIMITS, BOUNDS)
    assert limited
    assert piece.q1[0] < 0.2
    assert (piece.q1[1], piece.qd1[1]) == (q[1], qd[1])


def test_a_target_outside_the_range_is_limited_and_ends_at_rest_on_the_limit():
    piece, limited = shape(state([0.999, 0.04]), 0, H_NS, np.array([1.001, 0.04]), np.array([0.5, 0.0]), LIMITS, BOUNDS)
    assert limited
    assert piece.q1[0] == 1.0
    assert piece.qd1[0] == 0.0


def test_a_target_that_moves_out_faster_than_it_can_be_stopped_counts_as_limited():
    start, q, qd = state([0.9, 0.02], [1.0, 0.0]), np.array([0.955, 0.02]), np.array([1.0, 0.0])
    piece, limited = shape(start, 0, H_NS, q, qd, LIMITS, BOUNDS)
    assert limited
    # 45 mrad are left: 20 ms at 0.9 rad/s, then 15 rad/s2
    np.testing.assert_allclose(piece.qd1, [0.9, 0.0], atol=1e-6)


def drive(start, targets, bounds=BOUNDS):
    """Pieces of 60 ms, replanned every 20 ms, as control makes them."""
    pieces, limited = [], []
    for n, (q, qd) in enumerate(targets):
        t0_ns = n * TICK_NS
        piece, shaped = shape(start, t0_ns, t0_ns + H_NS, np.asarray(q), np.asarray(qd), LIMITS, bounds)
        pieces.append(piece)
        limited.append(shaped)
        start = piece.at(t0_ns + TICK_NS)
    return pieces, limited


def assert_bounded(pieces):
    for piece in pieces:
        velocity, acceleration = piece.peaks()
        low, high = piece.span()
        assert (velocity <= BOUNDS.velocity + 1e-9).all()
        assert (acceleration <= STEEPER * BOUNDS.acceleration + 1e-6).all()
        assert (low >= LIMITS.lower - 1e-3).all()  # the last gate's margin
        assert (high <= LIMITS.upper + 1e-3).all()


def test_a_moving_target_is_caught_and_then_followed_exactly():
    times_s = np.arange(100) * 0.02 + 0.06
    targets = [((0.6 * np.sin(t), 0.02), (0.6 * np.cos(t), 0.0)) for t in times_s]
    pieces, limited = drive(state([-0.8, 0.0]), targets)
    assert_bounded(pieces)
    assert limited[0]
    assert not any(limited[60:])
    assert [tuple(p.q1) for p in pieces[60:]] == [q for q, _ in targets[60:]]


def bursts(acceleration, long_s=0.12, rest_s=0.1):
    """Targets of the first joint, as `drive` takes them: from rest, as hard for long_s one way and then the other."""

    def at(t_s):
        up, down = np.clip(t_s - rest_s, 0.0, long_s), np.clip(t_s - rest_s - long_s, 0.0, long_s)
        qd = acceleration * (up - down)
        return 0.5 * acceleration * up**2 + acceleration * (long_s * down - 0.5 * down**2), qd

    times_s = np.arange(60) * TICK_NS * 1e-9 + H_NS * 1e-9
    return [((q, 0.02), (qd, 0.0)) for q, qd in map(at, times_s)]


@pytest.mark.parametrize(("of_the_hardest", "off"), [(0.7, 0.008), (0.85, 0.01), (0.95, 0.015), (1.5, 0.06)])
def test_motion_that_asks_for_more_than_passes_plainly_is_followed_as_near_as_may_be(of_the_hardest, off):
    targets = bursts(of_the_hardest * STEEPER * BOUNDS.acceleration[0])
    pieces, limited = drive(state([0.0, 0.02]), targets)
    assert_bounded(pieces)
    assert any(limited)
    behind = np.array([abs(p.q1[0] - q) for p, ((q, _), _) in zip(pieces, targets, strict=True)])
    assert behind.max() < off
    assert behind[-1] < 1e-4
    assert min(p.span()[0][0] for p in pieces) > -2e-3, "nothing goes backwards to take a run"


def test_a_target_beyond_the_top_speed_is_run_after_at_the_top_speed():
    targets = [((-0.9 + 6.0 * t, 0.02), (6.0, 0.0)) for t in np.arange(12) * 0.02]
    pieces, _ = drive(state([-0.9, 0.02]), targets)
    assert_bounded(pieces)
    assert max(p.qd1[0] for p in pieces) > 1.5


numbers = st.floats(-1.0, 1.0)
wild = st.lists(st.tuples(numbers, numbers, numbers, numbers, st.integers(1, 8)), min_size=3, max_size=12)


@settings(max_examples=60, deadline=None)
@given(wild, st.floats(-0.99, 0.99), st.floats(0.0, 0.04))
def test_whatever_is_wanted_a_piece_keeps_velocity_acceleration_and_range(wishes, q0, grip_m):
    targets = [((1.3 * a, 0.02 + 0.03 * b), (4.0 * c, 0.4 * d)) for a, b, c, d, repeat in wishes for _ in range(repeat)]
    pieces, _ = drive(state([q0, grip_m]), targets)
    assert_bounded(pieces)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 0.5), st.sampled_from([-1.0, 1.0]), st.floats(-1.0, 1.0), st.floats(-3.0, 3.0))
def test_from_a_state_that_just_can_be_stopped_the_range_is_kept(room, side, q, qd):
    lost = 15.0 * 0.02
    outwards = min(np.sqrt(lost * lost + 2.0 * 15.0 * room) - lost, 3.0)
    pieces, _ = drive(state([side * (1.0 - room), 0.02], [side * outwards, 0.0]), [((q, 0.02), (qd, 0.0))] * 6)
    assert_bounded(pieces)


def test_fits_judges_each_joint():
    piece = Piece(0, H_NS, np.zeros(2), np.zeros(2), np.array([0.001, 0.04]), np.zeros(2))
    assert fits(piece, BOUNDS).tolist() == [True, False]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 1.0))
def test_the_short_way_for_plain_pieces_comes_to_the_same(seed, size):
    random = np.random.default_rng(seed)
    lower, upper, follow = SETTINGS.limits.lower, SETTINGS.limits.upper, SETTINGS.follow
    q0 = lower + random.uniform(0, 1, 14) * (upper - lower)
    qd0, qd1 = size * random.uniform(-1, 1, (2, 14)) * follow.velocity
    q1 = q0 + 0.04 * (qd0 + qd1) + size * random.uniform(-1, 1, 14) * follow.acceleration * 0.08**2 / 6
    begin = State(q0, qd0, np.zeros(14))
    given = (begin, 0, 80_000_000, q1, qd1, SETTINGS.limits, follow)
    (quick, quick_limited), (thorough, thorough_limited) = shape(*given), bounded(*given)
    np.testing.assert_array_equal(quick.q1, thorough.q1)
    np.testing.assert_array_equal(quick.qd1, thorough.qd1)
    assert quick_limited == thorough_limited
