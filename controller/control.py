"""The control process: the 50 Hz tick that turns action chunks and homing into pieces of motion.

Runs under SCHED_FIFO. A tick reads the permit first, decides (planner), hands one piece to the motor process, and
leaves a record of itself. A chunk's arrival wakes it between two ticks, so a new plan never waits for the next one.
Nothing here logs, blocks or talks to a network.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

import numpy as np

from controller import layout, realtime
from controller.child import Child
from controller.plan_record import PlanWriter
from controller.planner import Permit, Planner, Step
from controller.settings import planner_settings
from controller.ticker import Clock, MonotonicClock, Ticker
from controller.timeline import Chunk

log = logging.getLogger(__name__)

TRACE_FIELDS = [name for name, *_ in layout.TRACE]


def chunk_from(record: np.ndarray[Any, Any]) -> Chunk:
    """A CHUNK record as the timeline takes it; the actions are a copy."""
    return Chunk(
        chunk_id=int(record["chunk_id"]),
        t0_ns=int(record["t_observation_ns"]),
        rate_hz=float(record["action_rate_hz"]),
        actions=record["actions"][: int(record["n_steps"])].copy(),
    )


class Control:
    """One tick is `step`; `run` paces it."""

    def __init__(self, child: Child, clock: Clock) -> None:
        self._child, self._clock = child, clock
        self._planner = Planner(planner_settings(child.config))
        self._planner.motion_id = int(child.read_permit()["motion_id"])  # a predecessor's motion is over
        self._chunks = child.open("chunk").reader()
        self._chunk = np.zeros((), layout.CHUNK)
        self._chunk_number = self._chunks.newest(self._chunk)
        self._joint_reader = child.open("joints").reader()
        self._joints = np.zeros((), layout.JOINTS)
        self._piece_writer = child.open("piece").writer()
        self._piece_record = np.zeros((), layout.PIECE)
        self._tick_writer = child.open("tick").writer()
        self._tick = np.zeros((), layout.TICK)
        self._plan_writer = PlanWriter(child.open("plan"), child.board.plan_wake)

    def step(self, ticker: Ticker, deadline_ns: int, missed: int, woken: bool) -> None:
        """Permit, chunk, joints, plan, piece; then the record of what was done."""
        child, planner = self._child, self._planner
        permit = child.permit()
        now_ns = self._clock.now_ns()
        self._take_chunk(now_ns)
        self._joint_reader.newest(self._joints)
        before = planner.fault
        step = planner.step(now_ns, permit, self._joints["q_command"], self._joints["q"])
        if step is not None:
            self._send(step, woken)
            self._record(now_ns, deadline_ns, missed, woken, permit, step)
            if step.stalled and not woken:
                child.status["stall_ticks"] += 1
        self._plan_writer.tell(now_ns, planner)
        self._fill_status(ticker, now_ns)
        if planner.fault is not None and planner.fault is not before:
            child.trip(now_ns, *planner.fault, planner.motion_id)
        else:
            child.beat(now_ns)

    def _take_chunk(self, now_ns: int) -> None:
        number = self._chunks.newest(self._chunk)
        if number == self._chunk_number:
            return
        self._chunk_number = number
        self._planner.receive(now_ns, int(self._chunk["motion_id"]), chunk_from(self._chunk), self._chunk.copy())

    def _send(self, step: Step, woken: bool) -> None:
        record, piece, planner = self._piece_record, step.piece, self._planner
        record["motion_id"] = planner.motion_id
        record["brake"] = piece is None
        if piece is not None:
            record["t0_ns"], record["t1_ns"] = piece.t0_ns, piece.t1_ns
            record["q0"], record["qd0"] = piece.q0, piece.qd0
            record["q1"], record["qd1"] = piece.q1, piece.qd1
        record["t_spliced_ns"] = planner.t_spliced_ns
        for name in TRACE_FIELDS:
            record[name] = planner.trace[name] if planner.trace is not None else 0
        record["t_planned_ns"] = self._clock.now_ns()
        self._piece_writer.write(record)
        if woken:
            self._child.board.piece_wake.set()

    def _record(self, now_ns: int, deadline_ns: int, missed: int, woken: bool, permit: Permit, step: Step) -> None:
        tick, planner = self._tick, self._planner
        tick["t_ns"], tick["deadline_ns"], tick["missed"] = now_ns, deadline_ns, missed
        tick["state"], tick["phase"], tick["woken"] = permit.state, planner.phase, woken
        tick["stalled"], tick["limited"] = step.stalled, step.limited
        tick["motion_id"], tick["chunk_id"] = planner.motion_id, planner.chunk_id
        tick["plan_left_s"] = planner.plan_left_s(now_ns)
        tick["seam"], tick["dry"] = planner.seam, permit.dry
        tick["speed"], tick["tau_ns"] = planner.playback.speed(now_ns), planner.playback.at(now_ns)
        tick["q_target"] = step.target
        tick["q1"] = step.piece.q1 if step.piece is not None else self._joints["q_command"]
        self._tick_writer.write(tick)

    def _fill_status(self, ticker: Ticker, now_ns: int) -> None:
        status, planner = self._child.status, self._planner
        status["ticks"], status["missed"] = ticker.ticks, ticker.missed
        status["lateness"], status["lateness_max_us"] = ticker.lateness.bins, ticker.lateness.max_us
        status["chunks"], status["late_chunks"] = planner.chunks, planner.late_chunks
        status["phase"], status["phase_motion_id"] = planner.phase, planner.motion_id
        status["plan_left_s"] = planner.plan_left_s(now_ns)
        status["seam"], status["speed"] = planner.seam, planner.playback.speed(now_ns)
        seams = planner.statistics
        status["seams"], status["gap_last_rad"], status["gap_max_rad"] = seams.count, seams.gap_last, seams.gap_max
        status["seam_acceleration"], status["inside_acceleration"] = seams.at_seam, seams.inside


def run(child: Child) -> None:
    """Entry of the process."""
    clock, rights = MonotonicClock(), child.config.realtime
    control = Control(child, clock)
    report = realtime.enter(rights.control_priority, rights.lock_memory, rights.control_cpu, rights.required)
    gc.disable()  # the loop makes no reference cycles
    child.status["realtime"] = str(report).encode()[:160]
    log.info("planning at %g Hz", child.config.control.rate_hz)
    ticker = Ticker(clock, child.config.control.rate_hz)
    wake = child.board.chunk_wake
    while not child.should_end:
        deadline_ns, missed = ticker.deadline_ns, ticker.missed
        woken = ticker.wait(wake.fileno())
        if woken:
            wake.clear()
        control.step(ticker, deadline_ns, ticker.missed - missed, woken)
