"""The guard over its rings: what it looks at, what it tells, what it trips on, and what it leaves to others."""

import os
import threading
import time

import numpy as np
import pytest

from controller import adapters, layout
from controller.board import OwnedBoard
from controller.child import Child, Spawned
from controller.config import load, shipped
from controller.faults import FaultCode
from controller.guard import Guard, run
from controller.planner import Phase
from controller.states import State
from policy_server import kinematics, tabletop
from tests.motion_rig import HOME, MS, SIM

DTAU_NS = 20 * MS
ROWS = 50


class FakeClock:
    def __init__(self):
        self.t_ns = 5_000 * MS

    def now_ns(self):
        return self.t_ns


class Daemon:
    """The supervisor's and control's part: permit, plan, piece."""

    def __init__(self, config=SIM):
        self.config, self.clock = config, FakeClock()
        self.owned = OwnedBoard(config)
        self._writers = {name: self.owned.rings[name].writer() for name in ("permit", "plan", "piece")}
        self._status, self._reader = self.owned.rings["status.guard"].blank(), None

    def child(self):
        return Child(Spawned("guard", "controller.guard", self.config, self.owned.board, os.getppid()))

    def guard(self):
        child = self.child()
        return child, Guard(child, self.clock)

    def write(self, ring, **fields):
        record = self.owned.rings[ring].blank()
        for name, value in fields.items():
            record[name] = value
        self._writers[ring].write(record)

    def permit(self, state=State.RUNNING, motion_id=3, t_ns=None, **fields):
        t_ns = self.clock.t_ns if t_ns is None else t_ns
        self.write("permit", t_ns=t_ns, lease_until_ns=t_ns + 10**10, state=state.code, motion_id=motion_id, **fields)

    def plan(self, goal=None, phase=Phase.FOLLOW, motion_id=3, start=HOME, t_ns=None):
        """From `start`, at rest, within half a second to the goal, as control would tell it, and its first piece."""
        t_ns = self.clock.t_ns if t_ns is None else t_ns
        goal = start if goal is None else goal
        share = np.clip(np.arange(ROWS) * 0.04, 0.0, 1.0)[:, None]
        share = share * share * (3.0 - 2.0 * share)
        q = np.zeros((layout.MAX_STEPS, 14))
        q[:ROWS] = start + share * (goal - start)
        qd = np.zeros_like(q)
        qd[: ROWS - 1] = np.gradient(q[:ROWS], 0.02, axis=0)[:-1]
        self.write(
            "plan", t_ns=t_ns, motion_id=motion_id, phase=phase, t_play_ns=t_ns, play_from=1.0, play_to=1.0,
            goal=goal, move_speed=1.0, dtau_ns=DTAU_NS, n_rows=ROWS, q=q, qd=qd,
        )  # fmt: skip
        self.piece(start, motion_id, t_ns)

    def piece(self, q, motion_id=3, t_ns=None, brake=0):
        t_ns = self.clock.t_ns if t_ns is None else t_ns
        self.write("piece", motion_id=motion_id, t0_ns=t_ns, t1_ns=t_ns + 80 * MS, q0=q, q1=q, brake=brake)

    def status(self):
        self.owned.rings["status.guard"].reader().newest(self._status)
        return self._status


@pytest.fixture
def daemon():
    made = Daemon()
    yield made
    made.owned.close()


def into_the_table(height_m=-0.03):
    """Home, but with the left tool point at this height; the table's top is at 0.02 m."""
    q = HOME.copy()
    where = np.array((0.0, 0.12, height_m))
    q[:6] = kinematics.inverse(tabletop._hand("left", where, 1.2, 0.0), tabletop._guess("left", where))  # noqa: SLF001
    return q


def test_a_clear_motion_is_looked_at_and_told(daemon):
    child, guard = daemon.guard()
    daemon.permit()
    daemon.plan()
    assert guard.look()
    status = child.status
    assert status["fault"] == FaultCode.NONE
    assert (status["checks"], status["checked_motion_id"], status["t_checked_ns"]) == (1, 3, daemon.clock.t_ns)
    assert status["stop_clear"] == 1


@pytest.mark.raises_fault("collision_ahead", "homing", "running")
@pytest.mark.parametrize("phase", [Phase.FOLLOW, Phase.RAMP, Phase.HOMING])
def test_a_motion_into_the_table_is_a_fault_of_that_motion_with_bodies_bound_and_moment(daemon, phase):
    child, guard = daemon.guard()
    daemon.permit(State.HOMING if phase is Phase.HOMING else State.RUNNING)
    goal = into_the_table()
    if phase is Phase.HOMING:  # slow: not in half a second from home
        start = HOME + 0.75 * (goal - HOME)
        daemon.plan(goal, phase, start=start)
    else:
        daemon.plan(goal, phase, start=HOME + 0.5 * (goal - HOME))
    guard.look()
    assert child.status["fault"] == FaultCode.COLLISION_AHEAD
    assert child.status["fault_motion_id"] == 3
    text = layout.text(child.status["fault_text"])
    assert text.startswith("left ")
    assert " and table would be " in text
    assert "mm apart (bound " in text
    assert 0.0 < float(text.split(" in ")[1].split(" s")[0]) <= SIM.guard.horizon_s
    assert "braking alone" not in text
    assert daemon.owned.board.attention.clear() == 1


def test_what_braking_cannot_avoid_is_said(daemon):
    child, guard = daemon.guard()
    daemon.permit()
    goal = into_the_table()
    start = HOME + 0.93 * (goal - HOME)
    daemon.plan(goal, start=start)
    speed = 5.0 * (goal - HOME)
    record = daemon.owned.rings["piece"].blank()
    record["motion_id"], record["t0_ns"], record["t1_ns"] = 3, daemon.clock.t_ns, daemon.clock.t_ns + 80 * MS
    record["q0"], record["qd0"], record["q1"], record["qd1"] = start, speed, start + 0.08 * speed, speed
    daemon._writers["piece"].write(record)  # noqa: SLF001
    guard.look()
    assert layout.text(child.status["fault_text"]).endswith("; braking alone does not keep them apart")
    assert child.status["stop_clear"] == 0


def test_without_permission_nothing_is_looked_at(daemon):
    child, guard = daemon.guard()
    for state in (State.IDLE, State.FAULT):
        daemon.permit(state)
        daemon.plan(into_the_table(), start=HOME + 0.5 * (into_the_table() - HOME))
        assert not guard.look()
    assert child.status["checks"] == 0


@pytest.mark.parametrize("late", ["plan", "piece"])
def test_records_of_another_motion_are_no_look_at_this_one(daemon, late):
    child, guard = daemon.guard()
    daemon.permit(motion_id=4)
    daemon.plan(motion_id=3 if late == "plan" else 4)
    if late == "piece":
        daemon.piece(HOME, motion_id=3)
    assert guard.look()
    assert child.status["checks"] == 0


def test_a_plan_of_no_number_is_left_to_the_gate_and_is_not_looked_at(daemon):
    child, guard = daemon.guard()
    daemon.permit()
    daemon.plan()
    daemon.piece(np.full(14, np.nan))
    guard.look()
    assert child.status["checks"] == 0
    daemon.plan()
    guard.look()  # and the bounds have not suffered
    assert child.status["checks"] == 1
    daemon.plan(into_the_table(), start=HOME + 0.5 * (into_the_table() - HOME))
    guard.look()
    assert child.status["fault"] == FaultCode.COLLISION_AHEAD


def test_braking_and_having_arrived_are_clear(daemon):
    child, guard = daemon.guard()
    daemon.permit()
    daemon.plan(into_the_table(), start=into_the_table())
    daemon.piece(HOME, brake=1)
    guard.look()
    daemon.plan(into_the_table(), Phase.DONE, start=into_the_table())
    guard.look()
    assert child.status["checks"] == 2
    assert child.status["fault"] == FaultCode.NONE


def test_from_where_bodies_are_too_near_a_motion_may_lead_away(daemon):
    child, guard = daemon.guard()
    low = into_the_table(0.02)  # the fingers 10 mm in the table
    daemon.permit(State.HOMING)
    daemon.plan(HOME, Phase.HOMING, start=low)
    guard.look()
    assert child.status["checks"] == 1
    assert child.status["fault"] == FaultCode.NONE
    daemon.permit(motion_id=4)
    daemon.plan(low + 0.2 * (low - HOME), start=low, motion_id=4)
    guard.look()
    assert child.status["fault"] == FaultCode.COLLISION_AHEAD


def test_the_process_looks_when_it_is_woken_and_ends_when_told():
    daemon = Daemon()
    try:
        thread = threading.Thread(target=run, args=(daemon.child(),))
        thread.start()
        now_ns = time.monotonic_ns()
        daemon.permit(t_ns=now_ns)
        goal = into_the_table()
        daemon.plan(goal, start=HOME + 0.5 * (goal - HOME), t_ns=now_ns)
        daemon.owned.board.plan_wake.set()
        assert daemon.owned.board.attention.wait(60.0)
        assert daemon.status()["fault"] == FaultCode.COLLISION_AHEAD
        daemon.permit(t_ns=time.monotonic_ns(), exit=1)
        thread.join(60.0)
        assert not thread.is_alive()
    finally:
        daemon.permit(exit=1)
        daemon.owned.close()


def test_a_guard_without_mujoco_is_refused_at_the_start(monkeypatch):
    real, off = load(shipped("sim")), load(shipped("sim"))
    off = off.model_copy(update={"guard": off.guard.model_copy(update={"enabled": False})})
    assert adapters.lacking(real) == ""
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    assert "uv pip install -e '.[sim]'" in adapters.lacking(real)
    assert "guard.enabled = false" in adapters.lacking(real)
    assert adapters.lacking(off) == ""
