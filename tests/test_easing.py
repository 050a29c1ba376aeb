"""Easing: a seam asks no more of an arm than its chunk or its fade; a motion that asks less passes untouched."""

import numpy as np
import pytest
from motion_rig import HOME, SETTINGS, chunk, joints, still

from controller.easing import BEHIND, ROOM, Ease, eased
from controller.hermite import Piece, State
from controller.playback import Playback
from controller.robots.base import GRIPPERS
from controller.run_options import Seam
from controller.timeline import Timeline

MS = 1_000_000
H_NS, TICK_NS = 60 * MS, 20 * MS


def faded(seam=Seam.BLEND):
    """From standing still to standing 0.1 rad farther, by a seam at 100 ms."""
    start = Timeline.start(chunk(still(HOME)), SETTINGS.fading)
    return start.splice(chunk(still(HOME + joints(0.1)), chunk_id=2), 100 * MS, seam)


def jump(t0_ns):
    """A piece that asks more than anything may."""
    rest = np.zeros_like(HOME)
    return Piece(t0_ns, t0_ns + H_NS, HOME, rest, HOME + 0.01, rest)


def test_the_bound_is_the_harder_of_chunk_and_fade_and_the_grippers_have_none():
    ease = Ease.of(faded())
    hardest = faded().fade.hardest[0]
    assert hardest > 0.0
    assert ease.acceleration[0] == pytest.approx(ROOM * hardest)
    assert np.isinf(ease.acceleration[list(GRIPPERS)]).all()
    rough = still(HOME)
    rough[20:] += 0.5
    spliced = faded().splice(chunk(rough, 0, chunk_id=3), 120 * MS, Seam.BLEND)
    assert Ease.of(spliced).acceleration[0] == pytest.approx(ROOM * 0.5 * 50.0**2)


def test_a_switch_is_not_eased():
    assert np.isinf(Ease.of(faded(Seam.SWITCH)).acceleration).all()


def test_it_ends_where_the_chunk_comes_to_rest_and_waits_while_the_speed_changes():
    ease, steady = Ease.of(faded()), Playback(0, 0, 1.0, 1.0, 0.4)
    last_ns = 48 * TICK_NS  # the chunk's last action but one
    eased_piece = ease.applied(jump(last_ns - H_NS), steady)
    assert (eased_piece.q1 != jump(last_ns - H_NS).q1).any()
    late = jump(last_ns - H_NS + 1)
    assert ease.applied(late, steady) is late
    changing = Playback(0, 0, 1.0, 0.5, 0.4)
    assert ease.applied(jump(399 * MS), changing).q1[0] == jump(0).q1[0]
    assert ease.applied(jump(400 * MS), changing).q1[0] != jump(0).q1[0]


def test_slower_playback_is_eased_with_the_square_of_its_speed():
    ease = Ease.of(faded())
    slow = Playback(0, 0, 0.5, 0.5, 0.4)
    piece = ease.applied(jump(500 * MS), slow)
    assert piece.peaks()[1][0] == pytest.approx(0.25 * ease.acceleration[0])


def follow_eased(targets, acceleration, q=0.0, qd=0.0):
    """One joint; pieces of 60 ms, replanned every 20 ms. The pieces, and the state after each."""
    start, pieces, states = State(np.array([q]), np.array([qd]), np.zeros(1)), [], []
    for n, (q1, qd1) in enumerate(targets):
        wanted = Piece(n * TICK_NS, n * TICK_NS + H_NS, start.q, start.qd, np.array([q1]), np.array([qd1]))
        pieces.append(eased(wanted, np.array([acceleration])))
        start = pieces[-1].at((n + 1) * TICK_NS)
        states.append(start)
    return pieces, states


def test_a_piece_that_asks_no_more_is_eased_bit_for_bit():
    piece = Piece(0, H_NS, np.array([0.1]), np.array([0.5]), np.array([0.1303]), np.array([0.5]))
    hardest = float(piece.peaks()[1][0])
    assert eased(piece, np.array([hardest])) is piece
    less = eased(piece, np.array([0.9 * hardest]))
    assert (less.q1, less.qd1) != (piece.q1, piece.qd1)
    assert less.peaks()[1] <= 0.9 * hardest * (1.0 + 1e-9)


def test_only_the_joints_that_ask_more_are_eased():
    piece = Piece(0, H_NS, np.zeros(2), np.zeros(2), np.array([0.01, 0.001]), np.array([0.5, 0.05]))
    less = eased(piece, np.array([2.0, 2.0]))
    assert (less.q1[1], less.qd1[1]) == (0.001, 0.05)
    assert less.q1[0] < 0.01
    assert (eased(piece, np.array([np.inf, 2.0])).q1 == piece.q1).all()


def test_an_eased_joint_comes_to_rest_where_it_is_wanted_without_overshooting():
    pieces, states = follow_eased([(0.008, 0.0)] * 150, 0.5)
    q = np.array([state.q[0] for state in states])
    assert max(piece.peaks()[1][0] for piece in pieces) <= 0.5 * (1.0 + 1e-9)
    assert q.max() <= 0.008 + 2e-5
    assert q[-1] == pytest.approx(0.008, abs=1e-5)


def test_an_eased_joint_that_fell_behind_a_motion_catches_up_with_it():
    times_s = np.arange(100) * 0.02 + 0.06
    targets = [(0.3 * np.sin(2.0 * t), 0.6 * np.cos(2.0 * t)) for t in times_s]  # its own hardest is 1.2
    pieces, states = follow_eased(targets, 1.3, q=-0.008, qd=0.6)
    behind = np.array([0.3 * np.sin(2.0 * 0.02 * (n + 1)) - state.q[0] for n, state in enumerate(states)])
    assert max(piece.peaks()[1][0] for piece in pieces) <= 1.3 * (1.0 + 1e-9)
    assert behind[0] > 7e-3
    assert behind.min() > -5e-4
    assert np.abs(behind[60:]).max() < 5e-4


def test_an_eased_joint_is_left_no_farther_behind_however_hard_that_is():
    times_s = np.arange(40) * 0.02 + 0.06
    targets = [(2.0 * t * t, 4.0 * t) for t in times_s]
    pieces, _ = follow_eased(targets, 1.0)
    behind = [target[0] - piece.q1[0] for target, piece in zip(targets, pieces, strict=True)]
    assert max(behind) == pytest.approx(BEHIND)
    assert pieces[-1].qd1[0] == targets[-1][1]
