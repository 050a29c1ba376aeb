"""The last gate: it holds, it refuses, it brakes smoothly, and it never goes back to a motion that it braked."""

from dataclasses import replace

import numpy as np
import pytest
from motion_rig import CONTROL_MS, GATE, HOME, MOTOR_MS, MS, Rig, joints, still

from controller.faults import FaultCode
from controller.follower import Command, Follower, Mode
from controller.hermite import Piece
from controller.planner import Permit
from controller.states import State

FOR_EVER = 10**15
H_NS, TICK_NS = 60 * MS, MOTOR_MS * MS
REST = np.zeros(14)


def permit(state=State.RUNNING, motion_id=1, lease_until_ns=FOR_EVER):
    return Permit(state.code, motion_id, lease_until_ns)


def piece(q0, q1, qd0=REST, qd1=REST, t0_ns=0, t1_ns=H_NS):
    return Piece(t0_ns, t1_ns, *(np.asarray(v, dtype=np.float64) for v in (q0, qd0, q1, qd1)))


def cruising(speed=1.0, joint=0, ticks=10):
    """A follower in the middle of a motion along one joint at a steady speed, and its next tick's instant."""
    follower = Follower(GATE, HOME)
    velocity = joints(speed, joint)
    for tick in range(1, ticks + 1):
        t_ns = tick * TICK_NS
        # from rest to speed in a steady acceleration, then on
        ramp_s = 0.2
        t_s = t_ns * 1e-9
        share = min(t_s / ramp_s, 1.0)
        q = HOME + velocity * (0.5 * share * min(t_s, ramp_s) + max(t_s - ramp_s, 0.0))
        now = piece(q, q + velocity * share * 0.06, velocity * share, velocity * share, t_ns, t_ns + H_NS)
        follower.step(t_ns, permit(), Command(tick, 1, now), follower.q)
    assert follower.mode is Mode.FOLLOW
    return follower, (ticks + 1) * TICK_NS


def onwards(follower, t_ns, number=1000, **changes):
    """A command that goes on from where the follower is; `changes` spoil it."""
    good = piece(follower.q, follower.q + 0.06 * follower.qd, follower.qd, follower.qd, t_ns - TICK_NS, t_ns + H_NS)
    return Command(number, 1, replace(good, **changes))


def brake(follower, t_ns, step, ticks=120):
    """Let `step(now_ns)` run until the arms hold; check that they slow down as they should."""
    q, qd = [follower.q.copy()], [follower.qd.copy()]
    for tick in range(ticks):
        step(t_ns + tick * TICK_NS)
        if follower.mode is Mode.FOLLOW:
            q, qd = [], []
        q.append(follower.q.copy())
        qd.append(follower.qd.copy())
        if follower.mode is Mode.HOLD:
            break
    assert follower.mode is Mode.HOLD
    q, qd = np.array(q), np.array(qd)
    start = np.abs(qd[0])
    turn_s = 2.0 * GATE.brake.acceleration / GATE.brake.jerk
    bound_s = np.max(start / GATE.brake.acceleration + 2.0 * turn_s)
    assert (len(q) - 1) * TICK_NS * 1e-9 <= bound_s + 2 * TICK_NS * 1e-9
    assert (np.abs(np.diff(q, axis=0)) <= start * 1.05 * TICK_NS * 1e-9 + 1e-4).all()  # no step
    assert (np.abs(np.diff(qd, axis=0)) <= GATE.brake.acceleration * TICK_NS * 1e-9 * 1.01 + 1e-9).all()
    return q, qd


def test_without_anything_it_holds_the_measured_pose_for_ever():
    follower = Follower(GATE, HOME)
    for tick in range(200):
        follower.step(tick * TICK_NS, permit(State.IDLE), None, HOME + 0.01)
        assert (follower.q == HOME).all()
        assert (follower.qd == 0.0).all()
    assert follower.mode is Mode.HOLD


def test_a_piece_is_followed_to_the_bit_at_the_instant_of_use():
    follower = Follower(GATE, HOME)
    given = piece(HOME, HOME + joints(0.002), t0_ns=TICK_NS, t1_ns=TICK_NS + H_NS)
    for t_ns in range(0, 50 * MS, TICK_NS):
        follower.step(t_ns, permit(), Command(1, 1, given), HOME)
        if t_ns >= TICK_NS:
            assert (follower.q == given.at(t_ns).q).all()
            assert (follower.qd == given.at(t_ns).qd).all()
    assert follower.piece_number == 1


def test_a_piece_waits_for_its_beginning():
    follower, t_ns = cruising()
    before = onwards(follower, t_ns, 1000)
    follower.step(t_ns, permit(), before, follower.q)
    expected = before.piece.at(t_ns + TICK_NS).q
    after = onwards(follower, t_ns, 1001, t0_ns=t_ns + 7 * MS, t1_ns=t_ns + 67 * MS)
    follower.step(t_ns + TICK_NS, permit(), after, follower.q)
    assert follower.piece_number == 1000
    np.testing.assert_allclose(follower.q, expected, atol=1e-12)
    follower.step(t_ns + 2 * TICK_NS, permit(), after, follower.q)
    assert follower.piece_number == 1001


def test_a_piece_that_comes_late_is_entered_without_a_jump():
    follower, t_ns = cruising()
    first = onwards(follower, t_ns)
    follower.step(t_ns, permit(), first, follower.q)
    q, qd = follower.q.copy(), follower.qd.copy()
    # control meant the joint to slow down since 5 ms ago
    meant = first.piece.at(t_ns - 3 * MS)
    slower = piece(meant.q, meant.q + 0.045 * meant.qd, meant.qd, 0.5 * meant.qd, t_ns - 3 * MS, t_ns + 57 * MS)
    follower.step(t_ns + TICK_NS, permit(), Command(1001, 1, slower), follower.q)
    assert follower.mode is Mode.FOLLOW
    assert follower.piece_number == 1001
    assert (np.abs(follower.qd - qd) <= GATE.refused.acceleration * TICK_NS * 1e-9).all()
    np.testing.assert_allclose(follower.q - q, 0.5 * (qd + follower.qd) * TICK_NS * 1e-9, atol=1e-5)


def test_the_joints_do_not_stand_still_in_a_gap_between_two_pieces():
    follower, t_ns = cruising(ticks=60)
    end_ns = t_ns + 2 * MS
    first = piece(follower.q, follower.q + 0.007 * follower.qd, follower.qd, follower.qd, t_ns - TICK_NS, end_ns)
    follower.step(t_ns, permit(), Command(1000, 1, first), follower.q)
    q, qd = follower.q.copy(), follower.qd.copy()
    assert qd[0] > 0.9
    # the piece between was replaced before a tick came by
    after = piece(first.q1 + 0.002 * qd, first.q1 + 0.062 * qd, qd, qd, end_ns + 2 * MS, end_ns + 62 * MS)
    follower.step(t_ns + TICK_NS, permit(), Command(1001, 1, after), follower.q)
    assert follower.piece_number == 1001
    np.testing.assert_allclose(follower.q - q, 0.5 * (qd + follower.qd) * TICK_NS * 1e-9, atol=1e-5)


def test_a_piece_that_waited_is_followed_from_its_beginning_though_the_next_has_come_meanwhile():
    follower, t_ns = cruising()
    waits = onwards(follower, t_ns).piece
    waiting = replace(waits, t0_ns=t_ns + MS, q0=follower.q + 0.001 * follower.qd, qd0=follower.qd)
    follower.step(t_ns, permit(), Command(1000, 1, waiting, "first of a chunk"), follower.q)
    assert follower.piece_number == 10
    newest = replace(waiting, t0_ns=t_ns + TICK_NS + MS, t1_ns=waiting.t1_ns + TICK_NS)
    follower.step(t_ns + TICK_NS, permit(), Command(1001, 1, newest, "the next"), follower.q)
    assert (follower.piece_number, follower.trace) == (1000, "first of a chunk")
    follower.step(t_ns + 2 * TICK_NS, permit(), Command(1001, 1, newest, "the next"), follower.q)
    assert (follower.piece_number, follower.trace) == (1001, "the next")


def test_of_two_pieces_that_came_between_two_ticks_the_one_that_has_begun_is_followed():
    follower, t_ns = cruising()
    follower.step(t_ns, permit(), onwards(follower, t_ns, 1000), follower.q)
    begun = onwards(follower, t_ns + MS, 1001)
    waits = onwards(follower, t_ns + TICK_NS + 7 * MS, 1002)
    follower.expect(begun)
    follower.step(t_ns + TICK_NS, permit(), waits, follower.q)
    assert follower.piece_number == 1001
    follower.step(t_ns + 2 * TICK_NS, permit(), waits, follower.q)
    assert follower.piece_number == 1002


def test_an_order_to_brake_is_not_kept_waiting_by_a_piece_that_waited():
    follower, t_ns = cruising()
    waiting = replace(onwards(follower, t_ns).piece, t0_ns=t_ns + MS)
    follower.step(t_ns, permit(), Command(1000, 1, waiting), follower.q)
    follower.step(t_ns + TICK_NS, permit(), Command(1001, 1, None), follower.q)
    assert follower.mode is Mode.BRAKE
    assert follower.piece_number == 10


refusals = {
    "position not finite": (
        lambda q, qd: {"q1": q + joints(np.nan, 2)},
        FaultCode.COMMAND_REFUSED,
        "left_joint_2: position nan is not finite",
    ),
    "velocity not finite": (
        lambda q, qd: {"qd1": qd + joints(np.nan, 9)},
        FaultCode.COMMAND_REFUSED,
        "right_joint_2: position nan is not finite",  # the cubic goes through it
    ),
    "outside": (
        lambda q, qd: {"q1": q - joints(2.5, 1)},
        FaultCode.COMMAND_REFUSED,
        "left_joint_1: ",
    ),
    "too fast": (
        lambda q, qd: {"q1": q + joints(0.6, 3), "qd1": joints(10.0, 3)},
        FaultCode.COMMAND_REFUSED,
        "left_joint_3: ",
    ),
    "acceleration": (
        lambda q, qd: {"q1": q + 0.06 * qd + joints(0.03, 8)},
        FaultCode.COMMAND_REFUSED,
        "right_joint_1: acceleration",
    ),
    "jump": (
        lambda q, qd: {"q0": q + joints(0.2, 5), "q1": q + joints(0.2, 5) + 0.06 * qd},
        FaultCode.COMMAND_REFUSED,
        "left_joint_5: acceleration",
    ),
}


@pytest.mark.parametrize("name", refusals)
def test_a_refused_command_brakes_and_names_joint_value_and_bound(name):
    spoil, code, text = refusals[name]
    follower, t_ns = cruising()
    bad = onwards(follower, t_ns, **spoil(follower.q, follower.qd))
    q_before = follower.q.copy()
    brake(follower, t_ns, lambda now_ns: follower.step(now_ns, permit(), bad, follower.q))
    assert follower.fault[0] is code
    assert follower.fault[1].startswith(text)
    assert "not finite" in follower.fault[1] or "(bound " in follower.fault[1]
    assert follower.refused == 1
    assert np.abs(follower.q - q_before).max() < 0.1


def gated(change):
    """What the gate says of a single command that is continuous but breaks one bound."""
    follower, t_ns = cruising(**change.pop("start", {}))
    for tick in range(40):
        now_ns = t_ns + tick * TICK_NS
        wanted = change["motion"](follower, now_ns, tick)
        follower.step(now_ns, permit(), wanted, follower.q)
        if follower.fault is not None:
            return follower.fault
    return None


def test_a_joint_driven_over_its_limit_is_refused_with_the_distance():
    upper = GATE.limits.upper[6]
    follower = Follower(GATE, HOME + joints(upper - HOME[6], 6))
    over = piece(follower.q, follower.q + joints(0.002, 6), t0_ns=0, t1_ns=H_NS)
    for tick in range(1, 14):
        follower.step(tick * TICK_NS, permit(), Command(1, 1, over), follower.q)
        assert follower.q[6] <= upper
    assert follower.fault[0] is FaultCode.COMMAND_REFUSED
    assert follower.fault[1].startswith("left_left_carriage_joint: position outside the limits by 0.0")
    assert follower.fault[1].endswith("(bound 0.0010)")


def test_a_step_between_two_ticks_is_refused_however_slow_both_its_ends_are():
    follower, t_ns = cruising()
    follower.step(t_ns, permit(), onwards(follower, t_ns), follower.q)
    q, qd = follower.q.copy(), follower.qd.copy()
    leap = piece(q, q + joints(0.3, 4), qd, qd, t_ns, t_ns + TICK_NS)  # over within one tick
    follower.step(t_ns + TICK_NS, permit(), Command(2000, 1, leap), q)
    assert follower.mode is Mode.BRAKE
    assert follower.fault[0] is FaultCode.COMMAND_REFUSED
    assert follower.fault[1] == "left_joint_4: step from the last command 0.3000 (bound 0.0255)"
    assert np.abs(follower.q - q).max() < 0.01


def test_a_joint_over_its_top_speed_is_refused_with_the_speed():
    def faster(follower, now_ns, tick):
        speed = follower.qd + joints(14.5 * 0.065, 0)
        q1 = follower.q + 0.5 * (follower.qd + speed) * 0.065
        return Command(2000 + tick, 1, piece(follower.q, q1, follower.qd, speed, now_ns - TICK_NS, now_ns + H_NS))

    fault = gated({"motion": faster})
    assert fault[0] is FaultCode.COMMAND_REFUSED
    assert fault[1].startswith("left_joint_0: velocity 3.")
    assert fault[1].endswith("(bound 3.0600)")


@pytest.mark.parametrize(("error", "text"), [(0.55, "is 0.5"), (np.nan, "is nan")])
def test_a_joint_too_far_from_its_command_is_a_tracking_fault(error, text):
    follower, t_ns = cruising(speed=0.1)
    good = onwards(follower, t_ns)
    follower.step(t_ns, permit(), good, follower.q + joints(error, 10))
    assert follower.fault[0] is FaultCode.TRACKING
    assert text in follower.fault[1]
    assert "right_joint_3" in follower.fault[1]
    assert "(bound 0.5000)" in follower.fault[1]
    assert follower.mode is Mode.BRAKE


ends = {
    "lease": (lambda t_ns: permit(lease_until_ns=t_ns), FaultCode.LEASE_LOST),
    "revoked": (lambda t_ns: permit(State.IDLE), None),
    "fault": (lambda t_ns: permit(State.FAULT), None),
    "other motion": (lambda t_ns: permit(motion_id=2), None),
}


@pytest.mark.parametrize("name", ends)
def test_motion_ends_within_one_tick_of_its_permission(name):
    spoiled, code = ends[name]
    follower, t_ns = cruising(speed=0.5)
    good = onwards(follower, t_ns, t1_ns=t_ns + 500 * MS)
    speed = np.abs(follower.qd).max()
    follower.step(t_ns, spoiled(t_ns), good, follower.q)
    assert follower.mode is Mode.BRAKE
    assert np.abs(follower.qd).max() <= speed + 0.1
    brake(follower, t_ns + TICK_NS, lambda now_ns: follower.step(now_ns, spoiled(t_ns), good, follower.q))
    assert (follower.fault[0] if follower.fault else None) is code
    if code is not None:
        assert "the lease ended" in follower.fault[1]
    held = follower.q.copy()
    for tick in range(100):  # not even when the permission comes back
        follower.step(t_ns + 500 * MS + tick * TICK_NS, permit(), good, follower.q)
    assert (follower.q == held).all()


def test_a_command_that_is_not_renewed_brakes_at_its_end():
    follower, t_ns = cruising()
    last = onwards(follower, t_ns)
    brake(follower, t_ns, lambda now_ns: follower.step(now_ns, permit(), last, follower.q))
    assert follower.fault[0] is FaultCode.COMMAND_STALE
    assert follower.fault[1] == "the last command ended 5.0 ms ago"


def test_the_order_to_brake_is_no_fault_here():
    follower, t_ns = cruising()
    order = Command(1000, 1, None)
    brake(follower, t_ns, lambda now_ns: follower.step(now_ns, permit(), order, follower.q))
    assert follower.fault is None


def test_a_braked_motion_is_never_followed_again_and_the_next_one_is():
    follower, t_ns = cruising()
    brake(follower, t_ns, lambda now_ns: follower.step(now_ns, permit(), Command(1000, 1, None), follower.q))
    t_ns += 1000 * MS
    again = piece(follower.q, follower.q + joints(0.002), t0_ns=t_ns, t1_ns=t_ns + H_NS)
    for tick in range(10):
        follower.step(t_ns + tick * TICK_NS, permit(motion_id=1), Command(1001, 1, again), follower.q)
    assert follower.mode is Mode.HOLD
    t_ns += 10 * TICK_NS
    other = piece(follower.q, follower.q + joints(0.002), t0_ns=t_ns, t1_ns=t_ns + H_NS)
    follower.step(t_ns, permit(motion_id=2), Command(1002, 2, other), follower.q)
    assert follower.mode is Mode.FOLLOW


def test_a_piece_of_another_motion_than_the_permitted_one_starts_nothing():
    follower = Follower(GATE, HOME)
    for tick in range(5):
        given = piece(HOME, HOME + joints(0.002), t1_ns=200 * MS)
        follower.step(tick * TICK_NS, permit(motion_id=2), Command(1, 1, given), HOME)
    assert follower.mode is Mode.HOLD
    assert follower.fault is None


@pytest.mark.parametrize("stall_ms", [81, 300])
def test_after_a_stall_the_arms_stand_at_the_last_command(stall_ms):
    follower, t_ns = cruising()
    good = onwards(follower, t_ns, t1_ns=t_ns + 1000 * MS)
    last = follower.q.copy()
    follower.step(t_ns - TICK_NS + stall_ms * MS, permit(), good, follower.q)
    assert follower.fault == (
        FaultCode.COMMAND_STALE,
        f"the motor process stood still for {stall_ms} ms (bound 80 ms)",
    )
    assert follower.mode is Mode.HOLD
    assert (follower.q == last).all()
    assert (follower.qd == 0.0).all()


def test_a_short_stall_is_ridden_out():
    follower, t_ns = cruising()
    good = onwards(follower, t_ns, t1_ns=t_ns + 200 * MS, q1=follower.q + 0.205 * follower.qd)
    follower.step(t_ns, permit(), good, follower.q)
    follower.step(t_ns + 45 * MS, permit(), good, follower.q)
    assert follower.mode is Mode.FOLLOW


def test_arms_that_were_moved_by_hand_do_not_start():
    follower = Follower(GATE, HOME)
    given = Command(1, 1, piece(HOME, HOME, t1_ns=200 * MS))
    follower.step(0, permit(), given, HOME + joints(0.3, 3))
    assert follower.mode is Mode.HOLD
    assert follower.fault == (
        FaultCode.START_MISMATCH,
        "left_joint_3 is held at 0.6283 but measured at 0.9283 (bound 0.2500 apart)",
    )
    follower.step(TICK_NS, permit(), given, HOME)  # back in place: still no start of that motion
    assert follower.mode is Mode.HOLD


def test_a_first_command_away_from_the_hold_does_not_start():
    follower = Follower(GATE, HOME)
    follower.step(0, permit(), Command(1, 1, piece(HOME + joints(0.03, 12), HOME)), HOME)
    assert follower.mode is Mode.HOLD
    assert follower.fault == (
        FaultCode.START_MISMATCH,
        "right_joint_5 is held at 0.0000 but its first command is 0.0300 (bound 0.0200 apart)",
    )


def test_a_first_piece_that_comes_late_is_begun_at_the_hold():
    follower = Follower(GATE, HOME)
    ahead = HOME + joints(0.004, 3)
    late = piece(ahead, ahead + joints(0.03, 3), joints(0.2, 3), joints(0.4, 3))
    follower.step(0, permit(), Command(2, 1, late), HOME)
    assert follower.mode is Mode.FOLLOW
    np.testing.assert_allclose(follower.q, HOME, atol=1e-9)


def test_take_measured_is_for_arms_that_are_elsewhere_and_at_rest():
    follower = Follower(GATE, HOME)
    follower.take_measured(HOME + joints(0.01))
    assert (follower.q == HOME).all()  # near enough: the hold stays, or the arms would sag a little at each reset
    follower.take_measured(HOME + joints(np.nan))
    assert (follower.q == HOME).all()
    follower.take_measured(HOME + joints(0.4))
    assert (follower.q == HOME + joints(0.4)).all()
    moving, _ = cruising()
    before = moving.q.copy()
    moving.take_measured(HOME + joints(2.0))
    assert (moving.q == before).all()


def test_a_gripper_that_has_closed_on_a_thing_starts_and_goes_on_pressing():
    closed = HOME + joints(-HOME[6], 6)
    wide = closed + joints(0.03, 6)
    follower = Follower(GATE, closed)
    follower.take_measured(wide)
    assert (follower.q == closed).all()
    follower.take_measured(wide + joints(0.4, 1))  # the arm has been moved, the thing is still in its hand
    assert (follower.q == closed + joints(0.4, 1)).all()
    follower = Follower(GATE, closed)
    follower.step(0, permit(), Command(1, 1, piece(closed, closed)), wide)
    assert (follower.mode, follower.fault) == (Mode.FOLLOW, None)
    follower = Follower(GATE, closed)
    apart = closed + joints(1.01 * GATE.tracking[6], 6)
    follower.step(0, permit(), Command(1, 1, piece(closed, closed)), apart)
    assert follower.fault[0] is FaultCode.START_MISMATCH
    follower.take_measured(apart)
    assert (follower.q == apart).all()


def test_a_measurement_that_is_no_number_does_not_start():
    follower = Follower(GATE, HOME)
    follower.step(0, permit(), Command(1, 1, piece(HOME, HOME)), HOME + joints(np.nan))
    assert follower.fault[0] is FaultCode.START_MISMATCH


def test_an_arm_found_outside_its_limits_can_go_home():
    outside = HOME.copy()
    outside[1] = GATE.limits.lower[1] - 0.005
    rig = Rig(q_start=outside)
    rig.begin(State.HOMING)
    rig.advance(5_000)
    assert rig.follower.fault is None
    assert (rig.q[0] == outside).all()
    assert (rig.q[:, 1] >= outside[1]).all()
    np.testing.assert_allclose(rig.follower.q, HOME, atol=1e-6)


@pytest.mark.parametrize("stop_after_ms", [150, 400, 700])
def test_a_stop_during_a_run_is_smooth_through_both_processes(stop_after_ms):
    rig = Rig(lag_s=0.05)
    rig.run(still(HOME + joints(0.7) + joints(-0.4, 8), 128))
    rig.advance(stop_after_ms)
    rig.state = State.IDLE
    begun = len(rig.log)
    rig.advance(600)
    assert rig.modes[begun] is Mode.BRAKE
    assert rig.modes[-1] is Mode.HOLD
    ramp_or_brake = np.maximum(GATE.refused.acceleration, GATE.brake.acceleration)
    assert (np.abs(rig.accelerations()[begun - 4 :]) <= 1.001 * ramp_or_brake).all()
    assert (rig.q[-20:] == rig.q[-1]).all()


def test_control_that_hangs_is_braked_in_the_time_of_its_last_piece():
    rig = Rig()
    rig.run(still(HOME + joints(0.7), 128))
    rig.advance(300)
    rig.control_stalled_ns = rig.t_ns + 10_000 * MS
    rig.advance(CONTROL_MS + 60)
    assert rig.follower.mode is not Mode.FOLLOW
    assert rig.follower.fault[0] is FaultCode.COMMAND_STALE
