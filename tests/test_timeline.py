"""The chunk timeline: every action at its instant, no seam that jumps, nothing late, nothing kept for ever."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.timeline import Chunk, Timeline

MS = 1_000_000


def chunk(actions, t0_ns=0, rate_hz=50.0, chunk_id=1):
    return Chunk(chunk_id, t0_ns, rate_hz, np.asarray(actions, dtype=np.float64).reshape(len(actions), -1))


def random_chunk(seed, n, t0_ns, rate_hz):
    return chunk(np.random.default_rng(seed).uniform(-1, 1, (n, 2)), t0_ns, rate_hz, seed)


@pytest.mark.parametrize("rate_hz", [30.0, 50.0])
def test_action_k_is_met_at_its_instant(rate_hz):
    given_chunk = random_chunk(1, 20, 5 * MS, rate_hz)
    for k, action in enumerate(given_chunk.actions):
        q, _ = given_chunk.at(5 * MS + round(k * 1e9 / rate_hz))
        np.testing.assert_allclose(q, action, atol=1e-6)


def test_velocity_at_an_action_is_the_central_difference():
    given_chunk = chunk([0.0, 0.1, 0.4, 0.5])
    assert given_chunk.at(20 * MS)[1] == pytest.approx(0.4 / 0.04)


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(2, 12), st.sampled_from([30.0, 50.0]), st.floats(0.01, 0.99))
def test_velocity_is_the_derivative_of_position(seed, n, rate_hz, share):
    given_chunk = random_chunk(seed, n, 0, rate_hz)
    t_ns = round(share * given_chunk.end_ns)
    before, after = given_chunk.at(t_ns - 1000)[0], given_chunk.at(t_ns + 1000)[0]
    np.testing.assert_allclose((after - before) / 2e-6, given_chunk.at(t_ns)[1], rtol=1e-3, atol=0.2)


def test_outside_a_chunk_its_first_or_last_action_is_held_at_rest():
    given_chunk = chunk([1.0, 2.0, 3.0], t0_ns=100 * MS)
    for t_ns, action in ((0, 1.0), (100 * MS, 1.0), (140 * MS, 3.0), (10_000 * MS, 3.0)):
        q, qd = given_chunk.at(t_ns)
        assert q == action
        assert qd == 0.0


def test_start_puts_action_0_at_the_start_whatever_the_age_of_the_observation():
    timeline = Timeline.start(chunk([1.0, 2.0], t0_ns=3 * MS), 500 * MS, 0.1)
    assert timeline.at(500 * MS)[0] == 1.0
    assert timeline.end_ns == 520 * MS


def test_a_chunk_that_is_all_past_is_refused():
    timeline = Timeline.start(chunk([1.0, 2.0, 3.0]), 0, 0.1)
    assert timeline.splice(chunk([5.0, 6.0], t0_ns=10 * MS), 30 * MS) is None
    assert timeline.splice(chunk([5.0, 6.0], t0_ns=10 * MS), 29 * MS) is not None


def test_what_is_past_of_a_new_chunk_is_left_out():
    timeline = Timeline.start(chunk(np.zeros(50)), 0, 0.0)
    spliced = timeline.splice(chunk(np.arange(50.0), t0_ns=0), 200 * MS)
    assert spliced.at(200 * MS)[0] == pytest.approx(10.0)


def test_with_blend_0_the_new_chunk_holds_from_the_splice_on_and_the_old_one_before():
    timeline = Timeline.start(chunk(np.zeros(50)), 0, 0.0).splice(chunk(np.ones(50)), 200 * MS)
    assert timeline.at(200 * MS)[0] == 1.0
    assert timeline.at(200 * MS - 1)[0] == 0.0


def test_a_splice_leaves_the_timeline_it_was_made_from_as_it_was():
    old = Timeline.start(chunk(np.linspace(0, 1, 50)), 0, 0.1)
    before = [old.at(t * MS)[0].copy() for t in range(0, 900, 7)]
    new = old.splice(chunk(np.ones(50)), 100 * MS)
    new.at(150 * MS)[0][:] = 7.0
    new.at(5000 * MS)[0][:] = 7.0
    assert all((old.at(t * MS)[0] == q).all() for t, q in zip(range(0, 900, 7), before, strict=True))
    with pytest.raises(FrozenInstanceError):
        new.chunk = old.chunk


splices = st.lists(
    st.tuples(
        st.integers(1, 250),  # ms since the splice before: shorter than the cross-fade, too
        st.integers(2, 40),  # actions: 2 at 50 Hz is shorter than the cross-fade
        st.integers(0, 400),  # age of the observation, ms
        st.sampled_from([30.0, 50.0]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(splices, st.integers(0, 99), st.sampled_from([0.02, 0.1, 0.3]))
def test_position_and_velocity_are_continuous_at_every_seam(plan, seed, blend_s):
    timelines, t_ns = [Timeline.start(random_chunk(seed, 30, 0, 50.0), 0, blend_s)], 0
    for n, (wait_ms, actions, age_ms, rate_hz) in enumerate(plan):
        t_ns += wait_ms * MS
        old = timelines[-1]
        new = old.splice(random_chunk(seed + n, actions, t_ns - age_ms * MS, rate_hz), t_ns)
        if new is None:
            continue
        timelines.append(new)
        # at the splice the new timeline is the old one, in position and velocity
        for a, b in zip(old.at(t_ns), new.at(t_ns), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-9)
    # and along the last one nothing jumps: at the ends of chunks and of cross-fades neither
    last = timelines[-1]
    times = np.arange(t_ns, t_ns + 1000 * MS, MS)
    q, qd = (np.array(column) for column in zip(*(last.at(int(t)) for t in times), strict=True))
    swing = 2.0 * (50.0 + 1.5 / blend_s)  # actions 2 apart at 50 Hz, a cross-fade over 2
    assert np.abs(np.diff(q, axis=0)).max() < 2.0 * swing * 1e-3
    # the velocity is continuous if it is the derivative of the position: the trapezoid gives the next one
    trapezoid = 0.5 * (qd[1:] + qd[:-1]) * 1e-3
    np.testing.assert_allclose(np.diff(q, axis=0), trapezoid, atol=4e-3)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_chunk_shorter_than_the_blend_ends_in_it_without_a_jump_in_velocity(n):
    old = Timeline.start(chunk(np.zeros(100)), 0, 0.1)
    new = old.splice(chunk(np.linspace(0, 1, n), t0_ns=200 * MS), 201 * MS)
    end_ns = new.end_ns
    before, after = new.at(end_ns - 1)[1], new.at(end_ns + 1)[1]
    np.testing.assert_allclose(before, after, atol=1e-3)


def depth(timeline):
    return 0 if timeline is None else 1 + depth(timeline.previous)


def test_a_run_in_which_every_chunk_comes_during_the_cross_fade_keeps_only_what_is_still_seen():
    timeline = Timeline.start(chunk(np.zeros(50)), 0, 0.1)
    for n in range(1, 200):
        timeline = timeline.splice(chunk(np.zeros(50), t0_ns=n * 40 * MS), n * 40 * MS)
        assert depth(timeline) <= 4  # 100 ms of cross-fade hold two or three splices 40 ms apart


def test_dropping_what_has_faded_changes_no_value():
    kept = dropped = Timeline.start(random_chunk(0, 40, 0, 50.0), 0, 0.1)
    for n in range(1, 10):
        t_ns = n * 60 * MS
        new = random_chunk(n, 40, t_ns, 50.0)
        kept, dropped = Timeline(new, kept, t_ns, kept.blend_ns), dropped.splice(new, t_ns)
        for later_ns in range(t_ns, t_ns + 200 * MS, 3 * MS):
            assert (kept.at(later_ns)[0] == dropped.at(later_ns)[0]).all()
            assert (kept.at(later_ns)[1] == dropped.at(later_ns)[1]).all()
