"""Cubic pieces: ends met, derivatives true, peaks and spans as dense sampling finds them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.hermite import Piece

H_NS = 60_000_000
DENSE = np.linspace(0, H_NS, 601).astype(int)
values = st.lists(st.floats(-3, 3, allow_subnormal=False), min_size=2, max_size=2).map(np.array)
ends = st.tuples(values, values, values, values)


def piece(q0, qd0, q1, qd1):
    return Piece(0, H_NS, q0, qd0, q1, qd1)


@settings(deadline=None)
@given(ends)
def test_both_ends_are_met(four):
    q0, qd0, q1, qd1 = four
    start, end = piece(*four).at(0), piece(*four).at(H_NS)
    assert (start.q == q0).all()
    assert (start.qd == qd0).all()
    np.testing.assert_allclose(end.q, q1, atol=1e-12)
    np.testing.assert_allclose(end.qd, qd1, atol=1e-10)


@settings(deadline=None)
@given(ends, st.floats(0.1, 0.9))
def test_velocity_and_acceleration_are_the_derivatives(four, share):
    p, t_ns, step_ns = piece(*four), round(share * H_NS), 1000
    before, here, after = (p.at(t_ns + n * step_ns) for n in (-1, 0, 1))
    scale = 1.0 + max(np.abs(p.q1 - p.q0).max() / 0.06, np.abs(p.qd0).max(), np.abs(p.qd1).max())
    np.testing.assert_allclose((after.q - before.q) / 2e-6, here.qd, atol=1e-6 * scale)
    np.testing.assert_allclose((after.qd - before.qd) / 2e-6, here.qdd, atol=1e-5 * scale / 0.06)


@settings(max_examples=60, deadline=None)
@given(ends)
def test_peaks_and_span_are_those_of_dense_sampling(four):
    p = piece(*four)
    states = [p.at(int(t_ns)) for t_ns in DENSE]
    velocity, acceleration = p.peaks()
    low, high = p.span()
    q, qd, qdd = (np.array([getattr(s, name) for s in states]) for name in ("q", "qd", "qdd"))
    for exact, sampled, slope in (
        (velocity, np.abs(qd).max(0), np.abs(qdd).max(0)),
        (acceleration, np.abs(qdd).max(0), 0.0),
        (high, q.max(0), np.abs(qd).max(0)),
        (-low, (-q).max(0), np.abs(qd).max(0)),
    ):
        rounding = 1e-9 * (1.0 + np.abs(sampled))
        assert (exact >= sampled - rounding).all()
        assert (exact <= sampled + slope * 1e-4 + rounding).all()


def test_span_of_a_piece_that_swings_out_and_back():
    p = piece(np.array([0.0]), np.array([1.0]), np.array([0.0]), np.array([-1.0]))
    low, high = p.span()
    assert low == 0.0
    assert high == pytest.approx(0.015)  # a parabola: h / 4 times the velocity


@settings(deadline=None)
@given(ends, values, values)
def test_pieces_that_share_an_end_join_with_continuous_velocity(four, q2, qd2):
    first = piece(*four)
    second = Piece(H_NS, 2 * H_NS, first.q1, first.qd1, q2, qd2)
    np.testing.assert_allclose(first.at(H_NS).q, second.at(H_NS).q, atol=1e-12)
    np.testing.assert_allclose(first.at(H_NS).qd, second.at(H_NS).qd, atol=1e-10)
