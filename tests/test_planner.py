"""What control decides: homing, ramp-in, following, and never a second life for a motion that ended."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_rig import CONTROL_MS, HOME, MS, SETTINGS, Rig, chunk, joints, still

from controller.config import both_arms
from controller.faults import FaultCode
from controller.planner import Permit, Phase, Planner
from controller.states import State
from controller.timeline import Timeline

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


def test_park_goes_to_the_park_pose():
    rig = Rig(q_start=HOME + joints(0.3), park=True)
    rig.begin(State.HOMING)
    rig.advance(4_000)
    np.testing.assert_allclose(rig.follower.q, SETTINGS.park, atol=1e-6)


def test_arms_that_stay_away_from_home_end_in_a_fault_that_names_joint_and_distance():
    rig = Rig()
    rig.begin(State.HOMING)
    for _ in range(400):
        rig.q_measured = HOME + joints(0.1, 3)
        rig.advance(10)
    assert code(rig.planner) is FaultCode.HOMING_TIMEOUT
    assert "left_joint_3 is 0.1000 from home (bound 0.0500)" in rig.planner.fault[1]
    assert rig.planner.phase is Phase.HOMING


def test_a_run_ramps_to_a_far_first_action_within_the_ramp_bounds_and_then_follows():
    far = HOME + 0.6 * np.array([1, 0.5, 0.5, -1, -0.5, 1, 0] * 2)
    rig = Rig()
    rig.run(still(far, 120))
    seen = [rig.planner.phase]
    ramped = 0
    for _ in range(220):
        rig.advance(10)
        seen.append(rig.planner.phase)
        if rig.planner.phase is Phase.RAMP:
            ramped = len(rig.log)
    assert [p for n, p in enumerate(seen) if n == 0 or p is not seen[n - 1]] == [Phase.IDLE, Phase.RAMP, Phase.FOLLOW]
    # until the first joint arrives all keep to the ramp; the last millimetres are followed like any motion
    assert (np.abs(rig.qd) <= 1.01 * SETTINGS.ramp.velocity).all()
    assert (np.abs(rig.accelerations()[: ramped // 2]) <= 1.5 * SETTINGS.ramp.acceleration).all()
    np.testing.assert_allclose(rig.follower.q, far, atol=1e-6)


def test_the_ramp_ends_even_when_every_chunk_is_a_little_off_the_one_before():
    random = np.random.default_rng(1)
    wave = 0.3 * np.sin(2.0 * np.arange(50) / 50)[:, None] * both_arms((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0))
    rig = Rig()
    rig.run(HOME + wave)
    for _ in range(30):
        rig.advance(120)
        bias = random.normal(0.0, 3e-3, 14) * both_arms((1.0,) * 6 + (0.0,))
        rig.receive(HOME + wave + bias + random.normal(0.0, 1e-3, (50, 14)) * both_arms((1.0,) * 6 + (0.0,)))
    assert rig.planner.phase is Phase.FOLLOW


def test_a_run_that_fits_is_followed_along_its_actions():
    t_s = np.arange(50) / 50
    wave = HOME + 0.1 * np.sin(3.0 * t_s)[:, None] * both_arms((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0))
    rig = Rig()
    rig.run(wave)
    rig.advance(800)
    begun_ns = next(step.piece.t0_ns for _, step in rig.steps if step)
    plan = Timeline.start(chunk(wave), begun_ns, 0.0)
    wanted = np.array([plan.at(row.t_ns)[0] for row in rig.log[100:]])
    assert np.abs(rig.q[100:] - wanted).max() < 1e-4


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
    rig.advance(100)
    rig.receive(still(HOME + joints(0.3), 10), age_ms=200, chunk_id=9)
    rig.advance(100)
    assert (rig.planner.late_chunks, rig.planner.chunks, rig.planner.chunk_id) == (1, 1, 1)
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-9)


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
    assert planner.plan_left_s(0) == pytest.approx(1.002)
    assert planner.plan_left_s(5_000 * MS) == 0.0
