"""What control decides: homing, ramp-in, following, and never a second life for a motion that ended."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_rig import CONTROL_MS, GATE, HOME, MS, SETTINGS, Rig, chunk, joints, still

from controller.config_robot import both_arms
from controller.faults import FaultCode
from controller.follower import Mode
from controller.planner import Permit, Phase, Planner
from controller.run_options import Seam
from controller.states import State

LIMITS = SETTINGS.limits
shares = st.lists(st.floats(0.0, 1.0), min_size=14, max_size=14).map(np.array)


def code(planner):
    return planner.fault[0] if planner.fault else FaultCode.NONE


def running(motion_id=1, lease_until_ns=10**12):
    return Permit(State.RUNNING.code, motion_id, lease_until_ns)


def test_idle_says_nothing():
    rig = Rig()
    assert rig.steps
    assert all(step is None for _, step in rig.steps)


@settings(max_examples=15, deadline=None)
@given(shares)
def test_home_is_reached_from_any_pose_within_the_homing_bounds(share):
    rig = Rig(q_start=LIMITS.lower + share * (LIMITS.upper - LIMITS.lower))
    rig.begin(State.HOMING)
    rig.advance(8_000)
    assert rig.planner.phase is Phase.DONE
    assert rig.planner.fault is None
    assert rig.follower.fault is None
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-6)
    assert (np.abs(rig.qd) <= 1.02 * SETTINGS.homing.velocity).all()
    assert (np.abs(rig.accelerations()) <= 1.1 * SETTINGS.homing.acceleration).all()


def test_a_move_goes_to_the_pose_that_the_permit_names():
    goal = HOME + joints(0.2, 8)
    rig = Rig(q_start=HOME + joints(0.3), goal=goal)
    rig.begin(State.HOMING)
    rig.advance(4_000)
    np.testing.assert_allclose(rig.follower.q, goal, atol=1e-6)


@pytest.mark.parametrize("piece_ms", [80, 300])
def test_a_move_is_over_no_sooner_than_its_command_is_there(piece_ms):
    goal = HOME + joints(0.05, 1)
    rig = Rig(goal=goal)
    rig.planner = Planner(replace(SETTINGS, piece_ns=piece_ms * MS))
    rig.begin(State.HOMING)
    while rig.planner.phase is not Phase.DONE:
        rig.advance(5)
    np.testing.assert_allclose(rig.follower.q, goal, atol=3e-4)


def test_a_slower_move_is_the_same_one_slower_in_time():
    def moved(speed, ms):
        rig = Rig(q_start=HOME + joints(0.3) - joints(0.1, 9), speed=speed)
        rig.begin(State.HOMING)
        rig.advance(ms)
        assert rig.planner.phase is Phase.DONE
        under_way = [row.q for row in rig.log if row.mode is Mode.FOLLOW]
        return rig, np.array(under_way)

    (fast, q_fast), (slow, q_slow) = moved(1.0, 3_000), moved(0.2, 14_000)
    assert np.abs(slow.qd).max() == pytest.approx(0.2 * np.abs(fast.qd).max(), rel=0.02)
    np.testing.assert_allclose(q_slow[::5][:120], q_fast[:120], atol=4e-3)
    np.testing.assert_allclose(slow.follower.q, HOME, atol=1e-6)


@pytest.mark.raises_fault("homing_timeout", "homing")
def test_arms_that_stay_away_from_home_end_in_a_fault_that_names_joint_and_distance():
    rig = Rig()
    rig.begin(State.HOMING)
    for _ in range(400):
        rig.q_measured = HOME + joints(0.1, 3)
        rig.advance(10)
    assert code(rig.planner) is FaultCode.HOMING_TIMEOUT
    assert "left_joint_3 is 0.1000 from its goal (bound 0.0500)" in rig.planner.fault[1]
    assert rig.planner.phase is Phase.HOMING


def test_a_run_ramps_to_a_far_first_action_within_the_ramp_bounds_and_then_follows():
    far = HOME + 0.6 * np.array([1, 0.5, 0.5, -1, -0.5, 1, 0] * 2)
    rig = Rig()
    rig.run(still(far, 120))
    seen = [rig.planner.phase]
    for _ in range(220):
        rig.advance(10)
        seen.append(rig.planner.phase)
        if rig.planner.phase is Phase.RAMP:
            assert rig.planner.playback.at(rig.t_ns) == 0
    assert [p for n, p in enumerate(seen) if n == 0 or p is not seen[n - 1]] == [Phase.IDLE, Phase.RAMP, Phase.FOLLOW]
    assert (np.abs(rig.qd) <= 1.01 * SETTINGS.ramp.velocity).all()
    assert (np.abs(rig.accelerations()) <= 1.1 * SETTINGS.ramp.acceleration).all()
    np.testing.assert_allclose(rig.follower.q, far, atol=1e-6)


def test_a_slow_run_ramps_as_slowly():
    far = HOME + 0.1 * np.array([1, 0.5, 0.5, -1, -0.5, 1, 0] * 2)
    rig = Rig(speed=0.2)
    rig.run(still(far, 120))
    rig.advance(200)
    rig.receive(still(far + joints(0.01), 120))
    while rig.planner.phase is not Phase.FOLLOW:
        rig.advance(10)
        rig.receive(still(far + joints(0.01), 120))
    assert (np.abs(rig.qd) <= 1.01 * 0.2 * SETTINGS.ramp.velocity).all()
    assert (np.abs(rig.accelerations()) <= 1.5 * 0.2**2 * SETTINGS.ramp.acceleration).all()


def test_the_ramp_follows_the_newest_first_action_and_ends_at_rest_with_a_fresh_plan():
    first, later = HOME + joints(0.5), HOME + joints(0.6) + joints(-0.2, 8)
    rig = Rig()
    rig.run(still(first, 50))
    rig.advance(300)
    rig.receive(still(later, 50), age_ms=80, chunk_id=7)
    while rig.planner.phase is not Phase.FOLLOW:
        rig.advance(10)
    np.testing.assert_allclose(rig.planner.goal, later)
    np.testing.assert_allclose(rig.follower.q, later, atol=2e-3)
    assert np.abs(rig.follower.qd).max() < 0.05
    assert rig.planner.chunk_id == 7
    assert rig.planner.plan_left_s(rig.t_ns) == pytest.approx(0.98, abs=0.05)  # all of it
    assert (np.abs(rig.accelerations()) <= 1.5 * SETTINGS.ramp.acceleration).all()


def test_a_first_action_that_runs_away_is_not_chased_for_ever():
    rig = Rig()
    rig.run(still(HOME + joints(0.5)))
    for n in range(60):
        rig.advance(100)
        rig.receive(still(HOME + joints(0.5 + 0.4 * np.sin(2.0 * n)), 128), chunk_id=n + 2)
        if rig.planner.phase is Phase.FOLLOW:
            break
    assert rig.planner.phase is Phase.FOLLOW
    assert n < 50


def wave(t_s, size=0.3):
    return HOME + size * np.sin(2.0 * t_s)[:, None] * both_arms((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0))


@pytest.mark.parametrize("speed", [0.3, 0.05])
def test_at_a_lower_speed_the_same_path_is_played_slower(speed):
    rig = Rig(speed=speed)
    rig.run(wave(np.arange(100) / 50))
    rig.advance(2_000)
    playback = rig.planner.playback
    times = [row.t_ns for row in rig.log[100:]]
    wanted, velocity = chunk(wave(np.arange(100) / 50)).sample(np.array([playback.at(t_ns) for t_ns in times]))
    assert np.abs(rig.q[100:] - wanted).max() < 1e-4
    assert np.abs(rig.qd[200:] - speed * velocity[100:]).max() < 1e-2
    assert playback.at(rig.t_ns) == pytest.approx(speed * 1.8e9, rel=0.02)  # it took 0.4 s to get to speed
    assert rig.planner.plan_left_s(rig.t_ns) == pytest.approx((99 / 50 - playback.at(rig.t_ns) * 1e-9) / speed)


def test_changing_the_speed_during_a_run_is_smooth():
    rig = Rig(speed=1.0)
    rig.run(wave(np.arange(128) / 30), rate_hz=30.0)
    rig.advance(1_000)
    for speed in (0.2, 1.0, 0.5):
        rig.speed = speed
        rig.advance(350)  # before the change is complete, too
    # the motion's own acceleration, and 0.6 rad/s * 0.8 within 0.4 s
    assert np.abs(rig.accelerations()).max() < 1.2 + 1.5 * 0.6 * 0.8 / 0.4 + 0.5
    assert rig.planner.fault is None
    assert rig.planner.playback.speed(rig.t_ns + 500 * MS) == 0.5


@pytest.mark.parametrize("seam", Seam)
def test_every_seam_keeps_the_command_continuous_and_within_its_limits(seam):
    random = np.random.default_rng(3)
    rig = Rig(seam=seam)
    arms = both_arms((1.0,) * 6 + (0.03,))
    rig.run(wave(np.arange(50) / 50))
    rig.advance(600)
    for _ in range(20):
        tau_s = rig.planner.playback.at(rig.t_ns - 60 * MS) * 1e-9
        rig.receive(wave(tau_s + np.arange(50) / 50) + arms * random.normal(0, 0.03, 14), age_ms=60)
        rig.advance(73)
    assert rig.planner.phase is Phase.FOLLOW
    assert rig.follower.fault is None
    assert (np.abs(rig.accelerations()) <= GATE.refused.acceleration).all()
    statistics = rig.planner.statistics
    assert statistics.count[seam] == 20
    assert statistics.gap_max[seam] > 0.03
    assert statistics.count.sum() == 20
    if seam is not Seam.SWITCH:
        assert statistics.at_seam[seam] < 0.7 * 15.0  # nothing had to be limited


@pytest.mark.parametrize("seam", [Seam.BLEND, Seam.RTC])
@pytest.mark.parametrize("speed", [1.0, 0.5])
def test_chunks_of_two_minds_are_followed_no_harder_than_each_is_by_itself(seam, speed):
    rig = Rig(seam=seam, speed=speed)
    t_s = np.arange(60) / 50

    def mind(tau_s, side):
        """Both leave the place where the arm is, one way or the other, hardest at the beginning."""
        away = side * 0.5 * (t_s - 0.1 * (1.0 - np.exp(-t_s / 0.1)))  # 5 rad/s2 at first
        return wave(tau_s + t_s, 0.05) + away[:, None] * joints(1.0)

    rig.run(wave(t_s, 0.05))
    rig.advance(1_000)
    n, hardest = len(rig.log), 0.0
    for side in np.random.default_rng(5).choice([-1.0, 1.0], 60):
        tau_s = rig.planner.playback.at(rig.t_ns - 10 * MS) * 1e-9
        actions = mind(tau_s, side) + (rig.follower.q - wave(np.array([tau_s]), 0.05)[0])
        rig.receive(actions, age_ms=10)
        hardest = max(hardest, np.abs(np.diff(actions, 2, axis=0)).max() * 50.0**2)
        rig.advance(33)
    assert rig.planner.fault is None
    accelerations = np.abs(rig.accelerations())[n:]
    assert accelerations.max() > 0.3 * hardest * speed**2
    assert accelerations.max() <= 1.1 * hardest * speed**2


def test_the_seam_may_change_during_a_run():
    rig = Rig()
    rig.run(wave(np.arange(50) / 50))
    rig.advance(600)
    for n in range(16):
        rig.seam = Seam(n % 4)
        rig.advance(20)
        tau_s = rig.planner.playback.at(rig.t_ns - 60 * MS) * 1e-9
        rig.receive(wave(tau_s + np.arange(50) / 50) + joints(0.02 * (-1) ** n), age_ms=60)
        rig.advance(90)
    assert (np.abs(rig.accelerations()) <= GATE.refused.acceleration).all()
    assert (rig.planner.statistics.count == 4).all()


def test_a_dry_run_plans_everything_and_commands_nothing():
    rig = Rig(dry=True)
    rig.run(wave(np.arange(50) / 50))
    rig.advance(700)
    assert rig.planner.phase is Phase.FOLLOW
    assert np.abs(np.diff(rig.targets, axis=0)).max() > 1e-3
    assert (rig.q == HOME).all()
    assert set(rig.modes) == {Mode.HOLD}
    assert rig.follower.fault is None
    rig.dry = False  # the same motion can not become a real one half way
    rig.advance(300)
    assert code(rig.planner) is FaultCode.NONE
    assert rig.follower.fault[0] is FaultCode.START_MISMATCH
    assert (rig.q == HOME).all()


def test_the_ramp_ends_even_when_every_chunk_is_a_little_off_the_one_before():
    random = np.random.default_rng(1)
    actions = wave(np.arange(50) / 50)
    rig = Rig()
    rig.run(actions)
    for _ in range(30):
        rig.advance(120)
        bias = random.normal(0.0, 3e-3, 14) * both_arms((1.0,) * 6 + (0.0,))
        rig.receive(actions + bias + random.normal(0.0, 1e-3, (50, 14)) * both_arms((1.0,) * 6 + (0.0,)))
    assert rig.planner.phase is Phase.FOLLOW


def test_a_run_that_fits_is_followed_along_its_actions():
    actions = wave(np.arange(50) / 50, 0.1)
    rig = Rig()
    rig.run(actions)
    rig.advance(800)
    playback = rig.planner.playback
    wanted, _ = chunk(actions).sample(np.array([playback.at(row.t_ns) for row in rig.log[100:]]))
    assert np.abs(rig.q[100:] - wanted).max() < 1e-4
    assert playback.at(rig.t_ns) > 400 * MS


def test_the_first_piece_starts_at_the_held_pose_at_rest():
    planner = Planner(SETTINGS)
    held = HOME + joints(0.2)
    planner.receive(0, 1, chunk(still(HOME)), None)
    step = planner.step(5 * MS, running(), held, HOME)
    assert (step.piece.q0 == held).all()
    assert (step.piece.qd0 == 0.0).all()
    assert step.piece.t0_ns == 5 * MS + SETTINGS.lead_ns


def test_a_first_chunk_that_comes_before_the_run_begins_is_kept_and_a_newer_one_replaces_it():
    planner = Planner(SETTINGS)
    planner.receive(0, 1, chunk(still(HOME), chunk_id=1), "older")
    planner.receive(MS, 1, chunk(still(HOME), chunk_id=2), "newer")
    assert planner.step(2 * MS, Permit(State.IDLE.code, 1, 10**12), HOME, HOME) is None
    planner.step(20 * MS, running(), HOME, HOME)
    assert (planner.chunk_id, planner.trace, planner.chunks) == (2, "newer", 1)


def test_a_run_without_a_first_chunk_is_a_fault_and_no_motion():
    planner = Planner(SETTINGS)
    step = planner.step(0, running(), HOME, HOME)
    assert step.piece is None
    assert code(planner) is FaultCode.PLAN_ENDED
    assert "began without a first chunk" in planner.fault[1]


@pytest.mark.parametrize("motion_id", [0, 1, 3])
def test_a_chunk_of_another_motion_is_not_followed(motion_id):
    rig = Rig()
    rig.begin(State.HOMING)
    rig.advance(100)
    rig.run(still(HOME))
    rig.advance(100)
    assert rig.motion_id == 2
    rig.receive(still(HOME + joints(0.3)), motion_id=motion_id, chunk_id=9)
    rig.advance(300)
    assert rig.planner.chunk_id == 1
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-9)


def test_a_late_chunk_is_counted_and_changes_nothing():
    rig = Rig()
    rig.run(still(HOME))
    rig.advance(800)
    rig.receive(still(HOME + joints(0.3), 10), age_ms=200, chunk_id=9)
    rig.advance(100)
    assert (rig.planner.late_chunks, rig.planner.chunks, rig.planner.chunk_id) == (1, 1, 1)
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-9)


@pytest.mark.raises_fault("plan_ended", "running")
def test_the_end_of_the_plan_is_a_brake_and_a_fault():
    rig = Rig()
    rig.run(still(HOME, 10))
    rig.advance(400)
    assert code(rig.planner) is FaultCode.PLAN_ENDED
    assert "all 10 actions of chunk 1 are used up" in rig.planner.fault[1]
    last = rig.steps[-1][1]
    assert last.piece is None
    assert last.stalled
    assert rig.planner.phase is Phase.ENDED


def test_a_chunk_that_comes_after_the_plan_ended_starts_nothing():
    rig = Rig()
    rig.run(still(HOME, 10))
    rig.advance(400)
    rig.receive(still(HOME + joints(0.3)))
    rig.advance(300)
    assert rig.steps[-1][1].piece is None
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-9)


@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_control_too_late_for_its_own_piece_is_said_once_and_ends_the_motion(state):
    rig = Rig(q_start=HOME + joints(0.5))
    if state is State.RUNNING:
        rig.run(still(HOME, 100))
    else:
        rig.begin(state)
    rig.advance(200)
    rig.control_stalled_ns = rig.t_ns + 100 * MS
    rig.advance(160)
    first = rig.planner.fault
    assert code(rig.planner) is FaultCode.COMMAND_STALE
    assert "ms too late for its own piece" in first[1]
    rig.advance(200)
    assert rig.planner.fault is first
    assert rig.planner.phase is Phase.ENDED
    assert rig.steps[-1][1].piece is None


@pytest.mark.parametrize("late_ms", [20, 40])
def test_missed_control_ticks_are_bridged(late_ms):
    rig = Rig(q_start=HOME + joints(0.5))
    rig.begin(State.HOMING)
    rig.advance(500)
    rig.control_stalled_ns = rig.t_ns + (late_ms - 5) * MS
    rig.advance(4_000)
    assert rig.planner.fault is None
    assert rig.follower.fault is None
    assert rig.planner.phase is Phase.DONE


def test_the_plan_is_dropped_when_permission_ends_and_not_taken_up_again():
    rig = Rig()
    rig.run(still(HOME + joints(0.5), 100))
    rig.advance(300)
    rig.state = State.IDLE
    rig.advance(CONTROL_MS)
    assert rig.planner.phase is Phase.IDLE
    assert rig.planner.chunk_id == 0
    assert rig.planner.fault is None  # it was ordered
    rig.advance(300)
    stopped = rig.follower.q.copy()
    rig.state = State.RUNNING  # the same motion again: no supervisor does this
    rig.advance(500)
    assert rig.steps[-1][1].piece is None
    assert (rig.follower.q == stopped).all()


def test_a_lease_that_lapses_between_two_motor_ticks_ends_the_motion_with_a_fault():
    planner = Planner(SETTINGS)
    planner.receive(0, 1, chunk(still(HOME)), None)
    assert planner.step(20 * MS, running(lease_until_ns=39 * MS), HOME, HOME).piece is not None
    assert planner.step(40 * MS, running(lease_until_ns=39 * MS), HOME, HOME) is None
    assert planner.fault == (FaultCode.LEASE_LOST, "the lease ended 1.0 ms ago")
    assert planner.step(60 * MS, running(), HOME, HOME).piece is None


def test_no_motion_is_replayed_after_a_fault():
    rig = Rig(lag_s=0.05)
    rig.run(still(HOME + joints(0.8), 128))
    rig.advance(400)
    assert np.abs(rig.follower.qd).max() > 0.5
    rig.state = State.FAULT
    rig.advance(600)
    held = rig.follower.q.copy()
    # the operator's reset, and a new run whose policy wants the arms to stay
    rig.state = State.IDLE
    rig.advance(100)
    rig.run(still(held, 128))
    rig.advance(1000)
    first = next(
        step for t, step in rig.steps if step and step.piece and rig.planner.motion_id == 2 and t > rig.t_ns - 990 * MS
    )
    assert (first.piece.q0 == held).all()
    assert (first.piece.qd0 == 0.0).all()
    assert rig.planner.phase is Phase.FOLLOW
    assert (np.abs(rig.q[-200:] - held) < 1e-9).all()


def test_the_planner_remembers_how_much_plan_is_left():
    planner = Planner(SETTINGS)
    assert planner.plan_left_s(0) == 0.0
    planner.receive(0, 1, chunk(still(HOME, 51)), None)
    planner.step(0, running(), HOME, HOME)
    assert planner.plan_left_s(0) == pytest.approx(1.0)
    assert planner.plan_left_s(5_000 * MS) == 0.0
