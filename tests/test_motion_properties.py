"""Planner and follower together, against everything that can happen to them: what reaches the driver is always safe.

The policy sends anything that passes `answers`, the operator and the supervisor give and take permission, leases
lapse, either loop stalls, chunks and pieces come late. See `Motion.check` for what must hold at every tick.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from motion_rig import HOME, LEASE_MS, MOTOR_MS, MS, SETTINGS, SIM, Rig

from controller.answers import Acceptance, AnswerError, actions_from
from controller.config_robot import both_arms
from controller.follower import Mode
from controller.run_options import Seam
from controller.states import State

ACCEPTANCE = Acceptance.of(SIM)
LOWER, UPPER = SETTINGS.limits.lower, SETTINGS.limits.upper
TICK_S = MOTOR_MS * 1e-3
SLACK = 1.02
FOLLOW = SLACK * both_arms(SIM.robot.limits.velocity), SLACK * both_arms(SIM.robot.limits.acceleration)
WIDEST = tuple(
    np.maximum(most, SLACK * both_arms(brake))
    for most, brake in zip(
        FOLLOW, (SIM.robot.limits.brake.velocity, SIM.robot.limits.brake.acceleration), strict=True
    )
)
"""Velocity and acceleration that no command may exceed: while following the robot's limits, else those of braking."""
ARM = np.array(([1.0] * 6 + [0.05]) * 2)
"""A gripper's metres are a twentieth of a joint's radians."""


def smooth(random, q, t_s):
    """Slow waves from where the arms are."""
    return q + ARM * random.uniform(0, 0.6, 14) * np.sin(np.outer(t_s, 2 * np.pi * random.uniform(0.1, 1.5, 14)))


def noisy(random, q, t_s):
    return q + ARM * random.normal(0, 0.02, (len(t_s), 14))


def far(random, q, t_s):
    return np.tile(random.uniform(LOWER, UPPER), (len(t_s), 1))


def into_the_limits(random, q, t_s):
    """To a limit within the chunk, or far too fast."""
    goal = np.where(random.random(14) < 0.5, LOWER, UPPER)
    share = np.clip(t_s / random.uniform(0.1, 1.2), 0.0, 1.0)[:, None]
    return q + share * (goal - q)


def off_the_limits(random, q, t_s):
    """Bouncing off a limit."""
    goal = np.where(random.random(14) < 0.5, LOWER, UPPER)
    share = np.abs(np.sin(2 * np.pi * random.uniform(0.3, 3.0) * t_s))[:, None]
    return goal + share * random.uniform(0.02, 0.6) * (q - goal)


def wild(random, q, t_s):
    return q + np.cumsum(ARM * random.normal(0, 0.12, (len(t_s), 14)), axis=0)


def broken(random, q, t_s):
    actions = smooth(random, q, t_s)
    actions[-1, 3] = np.nan
    return actions


policies = st.sampled_from([smooth, noisy, far, into_the_limits, off_the_limits, wild, broken])
seeds = st.integers(0, 2**32 - 1)
lengths = st.one_of(st.integers(25, 60), st.integers(2, 20))
rates = st.sampled_from([30.0, 50.0])
waits = st.integers(1, 30)


class Motion(RuleBasedStateMachine):
    @initialize(
        seed=seeds,
        spread=st.sampled_from([0.0, 0.3, 3.0]),
        lag_s=st.sampled_from([0.0, 0.03, 0.1]),
        phase_ms=st.integers(0, 19),
    )
    def set_up(self, seed, spread, lag_s, phase_ms):
        start = HOME + spread * ARM * np.random.default_rng(seed).normal(0, 1, 14)
        self.rig = Rig(q_start=np.clip(start, LOWER, UPPER), lag_s=lag_s, control_phase_ms=phase_ms)
        self.checked = 2
        self.ended = set()

    def actions(self, policy, seed, length, rate_hz):
        """Actions as the link would pass them on, or None."""
        wanted = policy(np.random.default_rng(seed), self.rig.follower.q, np.arange(length) / rate_hz)
        try:
            return actions_from({"actions": wanted}, ACCEPTANCE, rate_hz)
        except AnswerError:
            return None

    def advance(self, ms):
        self.rig.advance(ms)
        self.check()

    # ---- what may happen -----------------------------------------------------------------------------------

    @rule(policy=policies, seed=seeds, length=lengths, rate_hz=rates, rest=st.booleans())
    def begin_run(self, policy, seed, length, rate_hz, rest):
        """A new run, after a rest as the supervisor sees to it, or straight out of the old motion."""
        if rest:
            self.end()
            self.advance(400)
        actions = self.actions(policy, seed, length, rate_hz)
        if actions is not None:
            self.rig.run(actions, rate_hz)
        self.advance(60)

    @rule(seam=st.sampled_from(Seam), speed=st.sampled_from([0.05, 0.3, 0.7, 1.0]))
    def adjust(self, seam, speed):
        self.rig.seam, self.rig.speed = seam, speed
        self.advance(50)

    @rule(dry=st.booleans())
    def rehearse(self, dry):
        """A dry run begins, or a permit changes its mind under a motion."""
        self.rig.dry = dry
        self.advance(30)

    @rule()
    def begin_home(self):
        self.end()
        self.advance(400)
        self.rig.begin(State.HOMING)
        self.advance(100)

    @rule(policy=policies, seed=seeds, length=lengths, rate_hz=rates, age_ms=st.integers(0, 300), wait=waits)
    def send_chunk(self, policy, seed, length, rate_hz, age_ms, wait):
        actions = self.actions(policy, seed, length, rate_hz)
        if actions is not None:
            self.rig.receive(actions, age_ms, rate_hz)
            self.rig.receive(actions, age_ms, rate_hz)  # twice: it must not matter
        self.advance(10 * wait)

    @rule(seed=seeds, n=st.integers(2, 12), every_ms=st.integers(10, 150), policy=policies)
    def send_stream(self, seed, n, every_ms, policy):
        for number in range(n):
            actions = self.actions(policy, seed + number, 50, 50.0)
            if actions is not None:
                self.rig.receive(actions, age_ms=60)
            self.advance(every_ms)

    @rule(seed=seeds, motion_id=st.integers(0, 5))
    def send_chunk_of_some_motion(self, seed, motion_id):
        actions = self.actions(far, seed, 50, 50.0)
        if actions is not None:
            self.rig.receive(actions, motion_id=motion_id)
        self.advance(20)

    @rule(wait=waits)
    def wait(self, wait):
        self.advance(20 * wait)

    @rule()
    def end(self):
        self.rig.state = State.IDLE
        self.advance(10)

    @precondition(lambda self: self.rig.motion_id > 0)
    @rule()
    def permit_the_same_motion_again(self):
        self.rig.state = State.RUNNING
        self.advance(50)

    @rule(ms=st.integers(1, 300))
    def let_the_lease_lapse(self, ms):
        self.rig.renewing = False
        self.advance(LEASE_MS + ms)
        self.rig.renewing = True
        self.advance(20)

    @rule(ms=st.integers(1, 150))
    def stall_control(self, ms):
        self.rig.control_stalled_ns = self.rig.t_ns + ms * MS
        self.advance(ms + 20)

    @rule(ms=st.integers(1, 150))
    def stall_motor(self, ms):
        self.rig.motor_stalled_ns = self.rig.t_ns + ms * MS
        self.advance(ms + 20)

    @rule(ms=st.integers(0, 30), wait=waits)
    def deliver_late(self, ms, wait):
        self.rig.delivery_ms = ms
        self.advance(10 * wait)
        self.rig.delivery_ms = 0

    # ---- what must hold ------------------------------------------------------------------------------------

    def check(self):
        log = self.rig.log
        for n in range(self.checked, len(log)):
            before, row = log[n - 1], log[n]
            dt_s = (row.t_ns - before.t_ns) * 1e-9
            assert np.isfinite(row.q).all()
            assert np.isfinite(row.qd).all()
            assert (row.q >= LOWER).all()
            assert (row.q <= UPPER).all()
            step = np.abs(row.q - before.q)
            following = Mode.BRAKE not in (row.mode, before.mode, log[n - 2].mode)
            velocity, most = FOLLOW if following else WIDEST
            assert (np.abs(row.qd) <= velocity).all()
            assert (step <= velocity * dt_s + 1e-9).all(), step.max()
            if dt_s == pytest.approx(TICK_S) == (before.t_ns - log[n - 2].t_ns) * 1e-9:
                acceleration = np.abs(row.q - 2.0 * before.q + log[n - 2].q) / TICK_S**2
                assert (acceleration <= most).all(), (acceleration / most).max()
            if row.mode is Mode.HOLD and before.mode is Mode.HOLD:
                assert (row.q == before.q).all()
                assert (row.qd == 0.0).all()
            if row.mode is Mode.FOLLOW:
                assert row.moving
                assert not row.dry
                assert row.motion_id not in self.ended
            elif before.mode is Mode.FOLLOW:
                self.ended.add(before.motion_id)
        self.checked = len(log)


Motion.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestMotion = Motion.TestCase
