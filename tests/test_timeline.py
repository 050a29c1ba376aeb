"""The chunk timeline: every action at its instant, no seam that jumps, nothing late, nothing kept for ever."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.run_options import Seam
from controller.timeline import MOST_CHUNKS, Chunk, Fade, Fading, Timeline

MS = 1_000_000


def chunk(actions, t0_ns=0, rate_hz=50.0, chunk_id=1):
    return Chunk(chunk_id, t0_ns, rate_hz, np.asarray(actions, dtype=np.float64).reshape(len(actions), -1))


def fading(shortest_s=0.1, longest_s=0.5, acceleration=1e9, n_joints=1):
    """By default so fast joints that every fade takes the shortest time."""
    return Fading(shortest_s, longest_s, np.full(n_joints, acceleration), decay=0.01)


def start(actions, t0_ns=0, fade=None):
    return Timeline.start(chunk(actions, t0_ns), fade or fading())


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
    for t_ns, action in ((0, 1.0), (99 * MS, 1.0), (140 * MS, 3.0), (10_000 * MS, 3.0)):
        q, qd = given_chunk.at(t_ns)
        assert q == action
        assert qd == 0.0


def test_a_chunk_ends_at_rest_and_begins_on_its_way():
    given_chunk = chunk(np.linspace(0.0, 1.0, 11))
    assert given_chunk.at(0)[1] == pytest.approx(5.0)
    assert given_chunk.at(200 * MS - 1)[1] == pytest.approx(0.0, abs=1e-5)


def test_many_instants_at_once_are_what_each_is_alone():
    given_chunk = random_chunk(3, 20, 7 * MS, 30.0)
    t_ns = np.arange(-50, 800, 13) * MS
    q, qd = given_chunk.sample(t_ns)
    for n, t in enumerate(t_ns):
        np.testing.assert_allclose(q[n], given_chunk.at(int(t))[0], atol=1e-12)
        np.testing.assert_allclose(qd[n], given_chunk.at(int(t))[1], atol=1e-9)


def test_many_instants_of_a_timeline_at_once_are_what_each_is_alone():
    timeline = Timeline.start(random_chunk(0, 40, 0, 50.0), fading(n_joints=2))
    for n in range(1, 5):
        timeline = timeline.splice(random_chunk(n, 40, n * 60 * MS, 30.0), n * 90 * MS, Seam.ENSEMBLE)
    times = np.arange(360, 2000, 17) * MS
    q, qd = timeline.sample(times)
    alone = [timeline.at(int(t_ns)) for t_ns in times]
    np.testing.assert_allclose(q, [one[0] for one in alone], atol=1e-12)
    np.testing.assert_allclose(qd, [one[1] for one in alone], atol=1e-9)


@pytest.mark.parametrize("seam", Seam)
def test_a_chunk_that_is_all_past_is_refused(seam):
    timeline = start([1.0, 2.0, 3.0])
    assert timeline.splice(chunk([5.0, 6.0], t0_ns=10 * MS), 30 * MS, seam) is None
    assert timeline.splice(chunk([5.0, 6.0], t0_ns=10 * MS), 29 * MS, seam) is not None


def test_what_is_past_of_a_new_chunk_is_left_out():
    spliced = start(np.zeros(50)).splice(chunk(np.arange(50.0)), 200 * MS, Seam.SWITCH)
    assert spliced.at(200 * MS)[0] == pytest.approx(10.0)


def test_after_a_switch_the_new_chunk_holds_at_once():
    timeline = start(np.zeros(50)).splice(chunk(np.ones(50)), 200 * MS, Seam.SWITCH)
    assert timeline.at(200 * MS)[0] == 1.0
    assert timeline.fade is None


def test_a_splice_leaves_the_timeline_it_was_made_from_as_it_was():
    old = start(np.linspace(0, 1, 50))
    before = [old.at(t * MS)[0].copy() for t in range(0, 900, 7)]
    new = old.splice(chunk(np.ones(50)), 100 * MS, Seam.BLEND)
    new.at(150 * MS)[0][:] = 7.0
    new.at(5000 * MS)[0][:] = 7.0
    assert all((old.at(t * MS)[0] == q).all() for t, q in zip(range(0, 900, 7), before, strict=True))
    with pytest.raises(FrozenInstanceError):
        new.chunks = old.chunks


splices = st.lists(
    st.tuples(
        st.integers(1, 250),  # ms since the splice before: shorter than a fade, too
        st.integers(2, 40),  # actions: 2 at 50 Hz is shorter than a fade
        st.integers(0, 400),  # age of the observation, ms
        st.sampled_from([30.0, 50.0]),
        st.sampled_from([Seam.BLEND, Seam.ENSEMBLE, Seam.RTC]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(splices, st.integers(0, 99), st.sampled_from([0.02, 0.1, 0.3]))
def test_position_and_velocity_are_continuous_at_every_seam_whatever_the_methods(plan, seed, blend_s):
    timeline, t_ns = Timeline.start(random_chunk(seed, 30, 0, 50.0), fading(blend_s, n_joints=2)), 0
    for n, (wait_ms, actions, age_ms, rate_hz, seam) in enumerate(plan):
        t_ns += wait_ms * MS
        if t_ns >= timeline.end_ns:  # the plan has ended, so has the motion
            return
        new = timeline.splice(random_chunk(seed + n, actions, t_ns - age_ms * MS, rate_hz), t_ns, seam)
        if new is None:
            continue
        # at the splice the new timeline is the old one, in position and velocity
        for a, b in zip(timeline.at(t_ns), new.at(t_ns), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
        timeline = new
    # and along the last one nothing jumps: at the ends of chunks and of fades neither
    times = t_ns + np.arange(0, 1000 * MS, MS)
    q, qd = timeline.sample(times)
    fastest = np.abs(qd).max()
    assert np.abs(np.diff(q, axis=0)).max() <= 1.01 * fastest * 1e-3 + 1e-3
    # the velocity is continuous if it is the derivative of the position: the trapezoid gives the next one
    trapezoid = 0.5 * (qd[1:] + qd[:-1]) * 1e-3
    bend = np.abs(np.diff(qd, axis=0)).max() * 1e-3
    np.testing.assert_allclose(np.diff(q, axis=0), trapezoid, atol=0.3 * bend + 1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 2.0))
def test_a_fade_goes_from_what_it_is_given_to_nothing(seed, window_s):
    q, qd, qdd = np.random.default_rng(seed).uniform(-1, 1, (3, 4))
    fade = Fade(5 * MS, np.full(4, window_s), q, qd, qdd)
    last = np.array([fade.end_ns - 1])
    np.testing.assert_allclose(fade.at(5 * MS)[0], q)
    np.testing.assert_allclose(fade.at(5 * MS)[1], qd)
    np.testing.assert_allclose(fade.acceleration(5 * MS), qdd)
    for values in fade.at(last):
        np.testing.assert_allclose(values, 0.0, atol=1e-6)
    for values in fade.at(np.array([fade.end_ns + 1])):
        assert (values == 0.0).all()


def peak(fade, n=0):
    return max(abs(fade.acceleration(int(t))[n]) for t in np.linspace(fade.t0_ns, fade.end_ns, 500))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.floats(0.01, 2.0))
def test_a_fades_hardest_is_its_largest_acceleration(seed, window_s):
    fade = Fade(0, np.full(4, window_s), *np.random.default_rng(seed).uniform(-1, 1, (3, 4)))
    largest = [peak(fade, joint) for joint in range(4)]
    np.testing.assert_allclose(fade.hardest, largest, rtol=0.03)


def test_a_chunks_acceleration_is_that_of_its_actions():
    t_s = np.arange(50) / 50.0
    assert chunk(np.stack((1.5 * t_s * t_s, t_s), axis=1)).acceleration == pytest.approx([3.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("seam", [Seam.BLEND, Seam.ENSEMBLE, Seam.RTC])
def test_what_is_faded_from_is_what_is_commanded(seam):
    timeline = start(np.zeros(50)).splice(
        chunk(np.full(50, 0.1)), 200 * MS, seam, (np.array([0.02]), np.array([-0.3]))
    )
    q, qd = timeline.at(200 * MS)
    assert (q, qd) == (pytest.approx(0.02), pytest.approx(-0.3))


@pytest.mark.parametrize("gap", [0.001, 0.03, 0.1])
def test_the_farther_chunks_are_apart_the_longer_and_never_the_harder_they_are_faded(gap):
    fade = Fading(0.1, 0.5, np.array([3.0, 3.0]))
    old = Timeline.start(Chunk(1, 0, 50.0, np.zeros((100, 2))), fade)
    new = old.splice(Chunk(2, 0, 50.0, np.tile([gap, 0.0], (100, 1))), 500 * MS, Seam.BLEND)
    assert new.fade.window_s[1] == 0.1  # nothing to fade in this joint
    assert peak(new.fade) <= (3.0 if gap <= 0.06 else 5.8 * gap / 0.25)  # 0.5 s at most
    assert new.at(1000 * MS)[0][0] == pytest.approx(gap)


def test_a_velocity_is_faded_no_harder_either():
    fade = Fading(0.1, 5.0, np.array([3.0]))
    apart = Fade(0, fade.window_s(np.zeros(1), np.array([0.2])), np.zeros(1), np.array([0.2]), np.zeros(1))
    assert apart.window_s == pytest.approx(0.527, abs=1e-3)
    assert peak(apart) == pytest.approx(1.5, rel=0.02)  # half of it


def test_the_new_chunks_own_motion_is_followed_at_once():
    fade = fading(0.5)
    motion = np.sin(3.0 * np.arange(60) / 50.0)
    timeline = start(motion, fade=fade).splice(chunk(motion + 0.01), 200 * MS, Seam.BLEND)
    times = 200 * MS + np.arange(0, 400 * MS, 10 * MS)
    np.testing.assert_allclose(timeline.sample(times)[0][:, 0], np.sin(3.0 * times * 1e-9), atol=0.0101)
    assert timeline.fade.at(times)[0][0] == pytest.approx(-0.01, abs=1e-4)


@pytest.mark.parametrize("seam", [Seam.BLEND, Seam.ENSEMBLE, Seam.RTC])
def test_chunks_that_agree_leave_no_trace(seam):
    def motion(t_ns):
        return np.sin(3.0 * (t_ns * 1e-9 + np.arange(60) / 50.0))

    timeline = start(motion(0))
    for n in range(1, 30):
        seen_ns = (n * 40 - 30) * MS
        timeline = timeline.splice(chunk(motion(seen_ns), seen_ns), n * 40 * MS, seam)
        assert timeline.at((n * 40 + 13) * MS)[0] == pytest.approx(np.sin(3.0 * (n * 0.04 + 0.013)), abs=1e-4)


def test_what_was_fading_goes_on_when_the_same_plan_comes_again():
    fade = Fading(0.1, 0.5, np.array([3.0]))
    once = start(np.zeros(100), fade=fade).splice(chunk(np.full(100, 0.05)), 100 * MS, Seam.BLEND)
    again = once
    for n in range(1, 10):
        again = again.splice(chunk(np.full(100, 0.05)), (100 + 40 * n) * MS, Seam.BLEND)
    assert again.at(700 * MS)[0] == pytest.approx(0.05, abs=2e-3)
    assert (np.abs(again.at(460 * MS)[0] - once.at(460 * MS)[0]) < 0.02).all()


def test_an_ensemble_is_the_weighted_mean_of_what_reaches_the_moment():
    timeline = start(np.zeros(100))
    for n, value in enumerate((1.0, 2.0, 6.0), 1):
        given_chunk = chunk(np.full(100, value), n * 100 * MS, chunk_id=n)
        timeline = timeline.splice(given_chunk, n * 100 * MS, Seam.ENSEMBLE)
    weights = np.exp(-0.01 * np.arange(4))
    assert timeline.at(900 * MS)[0] == pytest.approx((weights * (0.0, 1.0, 2.0, 6.0)).sum() / weights.sum())
    assert timeline.at(2270 * MS)[0] == pytest.approx(6.0)  # the others have ended


@pytest.mark.parametrize("seam", Seam)
def test_a_run_of_any_length_keeps_only_what_is_still_needed(seam):
    timeline = start(np.zeros(100))
    for n in range(1, 300):
        timeline = timeline.splice(chunk(np.zeros(100), t0_ns=n * 20 * MS), n * 20 * MS, seam)
        assert len(timeline.chunks) <= (MOST_CHUNKS if seam is Seam.ENSEMBLE else 1)
