"""The motor process: the robot's driver, the last gate, braking and holding.

Runs at the robot's own rate under SCHED_FIFO and outlives the supervisor long enough to brake. Each tick reads the
permit first, then the joints, and always hands the driver a command: it holds when there is nothing to follow. The
first piece of a new plan is commanded between two ticks, if the robot has time for it.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import numpy as np

from controller import layout, realtime
from controller.child import Child
from controller.faults import FaultCode
from controller.follower import Command, Follower, Mode
from controller.hermite import Piece
from controller.joint_watch import JointWatch, not_numbers
from controller.planner import Permit
from controller.robots.base import JointState, Robot, RobotError, Vector
from controller.robots.factory import make
from controller.settings import contact_watch, gate
from controller.ticker import Clock, MonotonicClock, Ticker

LET_GO_NS = 200_000_000
"""A robot that has failed in part is held so long after its command has come to rest: joints trail their command."""

SPARE_NS = 1_500_000
"""What a command between two ticks must leave of the time to the next: it takes a third of that, and the tick is not to
be late for it."""

STATUS_EVERY = 4
"""Ticks between two status records: 50 Hz at the default 200 Hz."""

log = logging.getLogger(__name__)

TRACE_FIELDS = [name for name, *_ in layout.TRACE] + ["t_spliced_ns", "t_planned_ns", "motion_id"]


def command_from(number: int, record: np.ndarray[Any, Any]) -> Command:
    """A PIECE record as the follower takes it; its vectors are copies, and its trace is a copy of all."""
    motion_id, copy = int(record["motion_id"]), record.copy()
    if record["brake"]:
        return Command(number, motion_id, None, copy)
    ends = (copy[name] for name in ("q0", "qd0", "q1", "qd1"))
    return Command(number, motion_id, Piece(int(record["t0_ns"]), int(record["t1_ns"]), *ends), copy)


def _connected(robot: Robot) -> Vector:
    """Where the joints are held from the start. Raises RobotError, and has let go of the robot then."""
    state = robot.connect()
    if text := not_numbers(state.q, state.qd):
        robot.disconnect()
        raise RobotError(f"{text}, right after connecting; check power and network of the arms")
    return state.q


class Motor:
    """One tick is `step`; `run` paces it."""

    def __init__(self, child: Child, clock: Clock) -> None:
        self._child, self._clock = child, clock
        child.status["temperature"] = np.nan
        self.robot, self._scene = make(child.config, child.open("world"), child.again)
        self._pieces = child.open("piece").reader()
        self._piece_record = np.zeros((), layout.PIECE)
        self._command: Command | None = None
        self._state: JointState | None = None
        self._joints_writer = child.open("joints").writer()
        self._joints = np.zeros((), layout.JOINTS)
        self._handed_writer = child.open("handed").writer()
        self._handed = np.zeros((), layout.HANDED)
        self._last_chunk = (0, 0)
        permit = child.read_permit()
        self._resets, self._scenes = int(permit["reset_count"]), int(permit["scene_count"])
        self._joint_watch = JointWatch()
        self._t_lame_ns: int | None = None
        self._follower = Follower(gate(child.config), _connected(self.robot))
        self._follower.motion_id = int(permit["motion_id"])  # what a predecessor was told is not for us
        self._contact = contact_watch(child.config)
        child.status["lease_margin_min_us"] = 1e6 * child.config.daemon.lease_s

    @property
    def resting(self) -> bool:
        return self._follower.mode is Mode.HOLD

    def step(self) -> None:
        """Permit, joints, command, driver; then the records of what was done.

        Raises RobotError when the robot fails; of one that fails in part, once the rest has been braked.
        """
        follower = self._follower
        permit = self._child.permit()
        now_ns = self._clock.now_ns()
        state = self.robot.read(now_ns)
        self._obey_orders(state)
        self._state = state
        frozen = self._joint_watch.look(now_ns, state, follower.q)
        contact = self._contact.check(now_ns, follower.mode is Mode.FOLLOW, state.external_effort)
        failure = self.robot.failure
        lame = (FaultCode.ROBOT_ERROR, failure) if failure else None
        self._command_robot(now_ns, permit, state, lame or frozen or contact)
        if failure:
            self._let_go(now_ns, failure)

    def hear(self) -> int:
        """Note the newest piece of motion, before another takes its place. When it begins; 0 before there is any."""
        command = self._newest()
        if command is None:
            return 0
        self._follower.expect(command)
        return int(self._piece_record["t0_ns"])

    def step_between(self) -> None:
        """A command between two ticks, by the tick's reading; of a motion under way: none begins by an old reading.

        Raises RobotError when the robot fails.
        """
        if self._follower.mode is Mode.FOLLOW and self._state is not None:
            permit = self._child.permit()
            self._command_robot(self._clock.now_ns(), permit, self._state, None)

    def _newest(self) -> Command | None:
        number = self._pieces.newest(self._piece_record)
        if number and (self._command is None or number != self._command.number):
            self._command = command_from(number, self._piece_record)
        return self._command

    def _command_robot(
        self, now_ns: int, permit: Permit, state: JointState, alarm: tuple[FaultCode, str] | None
    ) -> None:
        """Work out the command and hand it over; then the records of what was done."""
        follower, before = self._follower, self._follower.fault
        follower.step(now_ns, permit, self._newest(), state.q, alarm)
        self.robot.write(now_ns, follower.q, follower.qd)
        handed_ns = self._clock.now_ns()
        self._publish(state, now_ns)
        self._note(now_ns, handed_ns, permit)
        if follower.fault is not None and follower.fault is not before:
            self._child.trip(now_ns, *follower.fault, follower.motion_id)

    def _let_go(self, now_ns: int, failure: str) -> None:
        """Once what still obeys has come to rest: RobotError, and with it the end of the process."""
        if not self.resting:
            return
        if self._t_lame_ns is None:
            self._t_lame_ns = now_ns
        if now_ns - self._t_lame_ns >= LET_GO_NS:
            raise RobotError(failure)

    def _obey_orders(self, state: JointState) -> None:
        permit = self._child.orders
        if permit["reset_count"] != self._resets:
            self._resets = int(permit["reset_count"])
            if self._follower.take_measured(state.q):
                self._joint_watch.rebase(self._clock.now_ns(), self._follower.q)
        if permit["scene_count"] != self._scenes:
            self._scenes = int(permit["scene_count"])
            if self._scene is not None:
                self._scene.lay_out(int(permit["scene_seed"]), self._scenes)

    def _publish(self, state: JointState, now_ns: int) -> None:
        record, follower = self._joints, self._follower
        record["t_ns"], record["t_command_ns"] = state.t_ns, now_ns
        record["q"], record["qd"], record["effort"] = state.q, state.qd, state.effort
        record["external_effort"] = state.external_effort
        self._child.status["temperature"] = state.temperature
        record["q_command"], record["qd_command"] = follower.q, follower.qd
        record["mode"], record["motion_id"] = follower.mode, follower.motion_id
        record["piece"] = follower.piece_number
        self._joints_writer.write(record)

    def _note(self, now_ns: int, handed_ns: int, permit: Permit) -> None:
        """Note the first command of each chunk, and the smallest lease left while moving."""
        if self._follower.mode is not Mode.FOLLOW:
            return
        status = self._child.status
        margin_us = (permit.lease_until_ns - now_ns) * 1e-3
        status["lease_margin_min_us"] = min(float(status["lease_margin_min_us"]), margin_us)
        trace = self._follower.trace
        chunk = (int(trace["motion_id"]), int(trace["chunk_id"]))
        if chunk[1] and chunk != self._last_chunk:
            self._last_chunk = chunk
            for name in TRACE_FIELDS:
                self._handed[name] = trace[name]
            self._handed["t_command_ns"], self._handed["t_handed_ns"] = now_ns, handed_ns
            self._handed_writer.write(self._handed)

    def write_status(self, ticker: Ticker) -> None:
        status, follower = self._child.status, self._follower
        status["ticks"], status["missed"] = ticker.ticks, ticker.missed
        status["lateness"], status["lateness_max_us"] = ticker.lateness.bins, ticker.lateness.max_us
        status["mode"], status["mode_motion_id"] = follower.mode, follower.motion_id
        status["refused"] = follower.refused
        alarm = self._joint_watch.alarm
        status["joints_alarm"] = FaultCode.NONE if alarm is None else alarm[0]
        self._child.beat(self._clock.now_ns())


def _time_for(begins_ns: int, ticker: Ticker, clock: Clock) -> bool:
    """Wait for the beginning of a piece that has just come; False, at once, where the next tick is as near."""
    if ticker.deadline_ns - max(begins_ns, clock.now_ns()) < SPARE_NS:
        return False
    clock.sleep_until(begins_ns)
    return True


def run(child: Child) -> None:
    """Entry of the process: connect, then tick until ordered to end or orphaned, and at rest."""
    clock = MonotonicClock()
    rights, config = child.config.realtime, child.config
    motor: Motor | None = None
    try:
        motor = Motor(child, clock)
        report = realtime.enter(
            rights.motor_priority, rights.lock_memory, rights.motor_cpu, rights.required, threads=True
        )
        gc.disable()  # the loop makes no reference cycles
        child.status["realtime"] = str(report).encode()[:160]
        log.info("robot %s at %g Hz", config.robot.kind, config.robot.rate_hz)
        ticker = Ticker(clock, config.robot.rate_hz)
        wake = child.board.piece_wake if motor.robot.between_ticks else None
        early = False  # at most one command between two ticks, whatever control does
        while not (child.should_end and motor.resting):
            if early := ticker.wait(wake.fileno() if wake and not early else None):
                if _time_for(motor.hear(), ticker, clock):
                    motor.step_between()
                continue
            if wake:
                wake.clear()  # what has come by now is looked at in this step
            motor.step()
            if ticker.ticks % STATUS_EVERY == 0:
                motor.write_status(ticker)
    except RobotError as error:
        child.trip(clock.now_ns(), FaultCode.ROBOT_ERROR, str(error), int(child.read_permit()["motion_id"]))
        raise
    finally:
        if motor is not None:
            motor.robot.disconnect()
    log.info("arms held, robot closed")
