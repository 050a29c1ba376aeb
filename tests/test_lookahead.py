"""The look ahead against what the planner and the follower then really do."""

import numpy as np
import pytest

from controller import layout
from controller.lookahead import Plan, piece_from, plan_from
from controller.planner import Phase
from controller.playback import Playback
from controller.robots.base import N_JOINTS
from controller.states import State
from tests.guard_rig import LOOKAHEAD, plan_of
from tests.motion_rig import CONTROL_MS, GATE, HOME, MS, SETTINGS, Rig, still

STEP_MS = SETTINGS.period_ns // MS
SWAY = np.tile((0.5, 0.4, 0.3, 0.4, 0.4, 0.6, -0.01), 2)


def sway(hz, n=100):
    return HOME + SWAY * np.sin(2.0 * np.pi * hz * np.arange(n)[:, None] / 50.0)


def look(rig):
    return LOOKAHEAD.path(rig.t_ns, plan_of(rig.planner, rig.t_ns), rig.planner._piece)  # noqa: SLF001


def commanded(rig, from_ns):
    """What the motor process commanded at from_ns and every control tick after it."""
    times = np.array([row.t_ns for row in rig.log])
    start = int(np.searchsorted(times, from_ns))
    return rig.q[start :: STEP_MS // 5]


def foreseen_and_done(rig, wait_ms):
    rig.advance(wait_ms)
    rig.advance(-rig.t_ns // MS % CONTROL_MS)  # a motor tick, and control has just stepped or is about to
    path, t_ns = look(rig), rig.t_ns
    rig.advance(520)
    done = commanded(rig, t_ns)[: len(path)]
    assert len(done) == len(path) == 26
    return path, done


@pytest.mark.parametrize("hz", [0.3, 0.8])
def test_a_run_is_foreseen_as_it_is_then_commanded(hz):
    rig = Rig()
    rig.run(still(HOME))
    rig.advance(100)
    rig.receive(sway(hz))
    path, done = foreseen_and_done(rig, 700)
    assert rig.planner.phase is Phase.FOLLOW
    assert np.abs(done - done[0]).max() > 0.05
    np.testing.assert_allclose(path, done, atol=2e-3)  # at 0.8 Hz, an eighth of what it is without easing


def test_a_motion_that_the_limits_slow_is_foreseen_slowed():
    rig = Rig()
    rig.run(still(HOME, 100))
    rig.advance(300)
    rig.receive(sway(1.6))
    path, done = foreseen_and_done(rig, 100)
    assert any(step is not None and step.limited for _, step in rig.steps)
    asked = np.diff(sway(1.6), 2, axis=0)
    assert np.abs(np.diff(path, 2, axis=0)).max() < 0.7 * np.abs(asked).max()
    np.testing.assert_allclose(path, done, atol=3e-2)


@pytest.mark.parametrize("rate_hz", [30.0, 50.0])
@pytest.mark.parametrize("before_ms", range(20, 220, 5))
def test_arms_that_a_plan_leaves_in_motion_come_no_farther_than_foreseen(before_ms, rate_hz):
    """Control sees the end at a tick of its own, up to a period later."""
    rig = Rig()
    rig.run(HOME + np.linspace(0.0, 1.0, 50)[:, None] * np.eye(N_JOINTS)[0], rate_hz)
    while rig.planner.phase is not Phase.FOLLOW or rig.planner.plan_left_s(rig.t_ns) > before_ms * 1e-3:
        rig.advance(1)
    path = look(rig)
    rig.advance(500)
    assert rig.planner.phase is Phase.ENDED
    assert rig.follower.q[0] <= path[-1, 0] <= rig.follower.q[0] + 0.02


def test_the_end_of_the_plan_is_foreseen_as_braking():
    rig = Rig()
    actions = HOME + 0.4 * np.linspace(0.0, 1.0, 50)[:, None] * np.eye(N_JOINTS)[0]
    rig.run(actions)
    rig.advance(950)  # the policy's time began to pass a little later, and slowly
    path = look(rig)
    assert np.abs(np.diff(path[-5:], axis=0)).max() < 1e-9
    assert path[-1, 0] == pytest.approx(HOME[0] + 0.4, abs=5e-3)


@pytest.mark.parametrize("speed", [1.0, 0.2])
def test_homing_is_foreseen(speed):
    rig = Rig(q_start=HOME + 0.5 * SWAY, speed=speed)
    rig.begin(State.HOMING)
    path, done = foreseen_and_done(rig, round(300 / speed))
    assert np.abs(done - done[0]).max() > 0.1 * speed
    np.testing.assert_allclose(path, done, atol=1e-2)


def test_the_ramp_to_the_first_action_ends_there_at_rest():
    rig = Rig()
    rig.run(still(HOME, 100))
    rig.advance(100)
    piece = rig.planner._piece  # noqa: SLF001
    goal = HOME + 0.1 * SWAY
    rows, rates = still(HOME, 2), np.zeros((2, N_JOINTS))
    plan = Plan(1, Phase.RAMP, goal, 1.0, Playback.standing(0, 0.4), 0, 20 * MS, rows, rates)
    path = LOOKAHEAD.path(rig.t_ns, plan, piece)
    np.testing.assert_allclose(path[0], HOME, atol=1e-9)
    np.testing.assert_allclose(path[-1], goal, atol=1e-6)
    assert np.abs(np.diff(path, axis=0)).max() / (STEP_MS * 1e-3) <= SETTINGS.ramp.velocity.max()


@pytest.mark.parametrize("speed", [1.0, 0.3])
def test_a_slower_playback_goes_the_same_way_later(speed):
    n = 100
    t_s = np.arange(n) * 0.02
    q = HOME + SWAY * np.sin(2.0 * t_s)[:, None]
    qd = 2.0 * SWAY * np.cos(2.0 * t_s)[:, None]
    playing = Playback(0, 0, speed, speed, 0.4)
    plan = Plan(1, Phase.FOLLOW, HOME, 1.0, playing, 0, 20 * MS, q, qd)
    for t_ms in (130, 450, 900):
        found, rate = plan.at(t_ms * MS)
        np.testing.assert_allclose(found, HOME + SWAY * np.sin(2e-3 * speed * t_ms), atol=1e-4)
        np.testing.assert_allclose(rate, speed * 2.0 * SWAY * np.cos(2e-3 * speed * t_ms), atol=2e-3)


def test_outside_its_rows_a_plan_rests():
    playing = Playback(0, 0, 1.0, 1.0, 0.4)
    plan = Plan(1, Phase.FOLLOW, HOME, 1.0, playing, 0, 20 * MS, sway(0.5, 10), np.ones((10, N_JOINTS)))
    for t_ns, row in ((-5, 0), (plan.end_ns, 9), (10**12, 9)):
        q, qd = plan.at(t_ns)
        np.testing.assert_array_equal(q, plan.q[row])
        np.testing.assert_array_equal(qd, 0.0)


def test_braking_at_once_comes_to_rest_where_the_motor_process_would():
    rig = Rig()
    rig.run(sway(0.8))
    rig.advance(700)
    rig.advance(-rig.t_ns // MS % 5)
    stopped = LOOKAHEAD.stopped(rig.t_ns, rig.planner._piece)  # noqa: SLF001
    rig.state = State.FAULT
    rig.advance(500)
    assert rig.log[-1].mode == 0
    np.testing.assert_allclose(stopped[0], rig.follower.q, atol=1e-2)
    assert np.abs(LOOKAHEAD.brake.velocity - GATE.brake.velocity).max() == 0.0


def test_records_are_read_into_copies():
    record = np.zeros((), layout.PLAN)
    record["motion_id"], record["phase"], record["n_rows"], record["dtau_ns"] = 7, Phase.FOLLOW, 3, 20 * MS
    record["tau_row0_ns"], record["play_to"], record["q"][:3] = 40 * MS, 0.5, still(HOME, 3)
    plan = plan_from(record, 0.4)
    assert (plan.motion_id, plan.phase, plan.end_ns) == (7, Phase.FOLLOW, 80 * MS)
    record["q"][:3] = 0.0
    np.testing.assert_array_equal(plan.q, still(HOME, 3))
    record = np.zeros((), layout.PIECE)
    record["t1_ns"], record["q1"] = 80 * MS, HOME
    piece = piece_from(record)
    record["q1"] = 0.0
    np.testing.assert_array_equal(piece.q1, HOME)
    record["brake"] = 1
    assert piece_from(record) is None
