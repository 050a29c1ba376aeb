"""What the motor process finds, raised at its cause in each state of motion: braking begins within the matrix's bound.

Planner and follower run wired together on a fake clock; each cause spoils one thing of a motion that is well under way.
"""

import numpy as np
import pytest
from motion_rig import HOME, MOTOR_MS, MS, SIM, Rig, joints, still

from controller.fault_matrix import bound_s
from controller.faults import FaultCode
from controller.follower import Command, Mode
from controller.hermite import Piece
from controller.joint_watch import MOVED, JointWatch
from controller.robots.base import JointState
from controller.states import State

FAR = HOME + joints(0.8)


class Watched(Rig):
    """The rig with the motor process's own watch over the readings; `spoil` makes of a reading a bad one."""

    def __post_init__(self):
        self.watch, self.spoil = JointWatch(), lambda state: state
        super().__post_init__()

    def motor(self):
        """As in the rig, but for the alarm."""
        follower, step = self.follower, self.follower.step
        reading = self.spoil(JointState(self.t_ns, self.q_measured.copy(), follower.qd.copy(), np.zeros(14)))
        alarm = self.watch.look(self.t_ns, reading, follower.q)
        follower.step = lambda now_ns, permit, newest, _: step(now_ns, permit, newest, reading.q, alarm)
        try:
            super().motor()
        finally:
            follower.step = step


def moving(state):
    """A motion at speed in this state."""
    rig = Watched(q_start=FAR if state is State.HOMING else HOME.copy())
    if state is State.HOMING:
        rig.begin(state)
    else:
        rig.run(still(HOME + joints(0.8)))
    rig.advance(300)
    assert rig.follower.mode is Mode.FOLLOW
    assert np.abs(rig.follower.qd).max() > 0.1
    return rig


def lease_ends(rig):
    rig.renewing = False
    rig.lease_until_ns = rig.t_ns + round(SIM.daemon.lease_s * 1e9)  # renewed just now


def control_hangs(rig):
    rig.control_stalled_ns = 10**15


def a_rogue_command(rig):
    q = rig.follower.q + joints(0.5)
    piece = Piece(rig.t_ns - MS, rig.t_ns + 100 * MS, q, np.full(14, 9.0), q, np.full(14, 9.0))
    rig.command = Command(10**6, rig.motion_id, piece)
    rig.control_stalled_ns = 10**15


def an_arm_is_held(rig):
    rig.q_measured += joints(0.6)


def nan(rig):
    def spoiled(state):
        state.q[3] = np.nan
        return state

    rig.spoil = spoiled


def backwards(rig):
    t_ns = rig.t_ns - 50 * MS
    rig.spoil = lambda state: JointState(t_ns, state.q, state.qd, state.effort)


def frozen(rig):
    q, qd = rig.q_measured.copy(), rig.follower.qd.copy()
    rig.spoil = lambda state: JointState(state.t_ns, q.copy(), qd.copy(), state.effort)


CAUSES = {
    FaultCode.LEASE_LOST: lease_ends,
    FaultCode.COMMAND_STALE: control_hangs,
    FaultCode.COMMAND_REFUSED: a_rogue_command,
    FaultCode.TRACKING: an_arm_is_held,
    FaultCode.JOINTS_INVALID: nan,
    FaultCode.JOINTS_TIME: backwards,
    FaultCode.JOINTS_FROZEN: frozen,
}


@pytest.mark.raises_fault("lease_lost", "homing", "running")
@pytest.mark.raises_fault("command_stale", "homing", "running")
@pytest.mark.raises_fault("command_refused", "homing", "running")
@pytest.mark.raises_fault("tracking", "homing", "running")
@pytest.mark.raises_fault("joints_invalid", "homing", "running")
@pytest.mark.raises_fault("joints_time", "homing", "running")
@pytest.mark.raises_fault("joints_frozen", "homing", "running")
@pytest.mark.parametrize("code", CAUSES)
@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_braking_begins_within_the_bound_of_the_matrix(code, state):
    rig = moving(state)
    CAUSES[code](rig)
    t_cause_ns, before = rig.t_ns, len(rig.log)
    rig.advance(400)
    rows = rig.log[before:]
    first = next(row for row in rows if row.mode is not Mode.FOLLOW)
    assert first.mode is Mode.BRAKE
    assert (first.t_ns - t_cause_ns) * 1e-9 <= bound_s(code, SIM, 0.0) + 1e-9
    assert rig.follower.fault[0] is code
    assert rig.follower.mode is Mode.HOLD
    q = np.array([row.q for row in rig.log[before - 1 :]])
    qd = np.array([row.qd for row in rig.log[before - 1 :]])
    speed = np.maximum(np.abs(qd[1:]), np.abs(qd[:-1]))
    assert (np.abs(np.diff(q, axis=0)) <= speed * MOTOR_MS * 1e-3 + 1e-4).all(), "never a step"


@pytest.mark.raises_fault("start_mismatch", "homing", "running")
@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_arms_that_are_not_where_they_are_held_do_not_start(state):
    rig = Watched()
    rig.q_measured += joints(0.3)
    rig.lag_s = 10**6
    if state is State.HOMING:
        rig.begin(state)
    else:
        rig.run(still(HOME))
    rig.advance(100)
    assert rig.follower.fault[0] is FaultCode.START_MISMATCH
    assert all((row.q == HOME).all() for row in rig.log)


@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
def test_a_motion_does_not_begin_on_readings_that_are_no_numbers(state):
    rig = Watched(q_start=FAR)
    nan(rig)
    if state is State.HOMING:
        rig.begin(state)
    else:
        rig.run(still(HOME))
    rig.advance(100)
    assert rig.follower.fault[0] is FaultCode.JOINTS_INVALID
    assert all((row.q == FAR).all() for row in rig.log)


def test_slow_motion_and_rest_raise_nothing():
    rig = Watched()
    rig.run(HOME + np.linspace(0, MOVED / 2, 50)[:, None] * joints(1.0))
    for _ in range(6):
        rig.advance(150)
        rig.receive(still(HOME + joints(MOVED / 2)), age_ms=20)
    assert rig.follower.fault is None
    assert rig.watch.alarm is None
