"""What the policy link shares with the other processes, and what it remembers from one connection to the next."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import numpy as np

from controller import layout
from controller.child import Child
from controller.delays import ExpectedDelay
from controller.faults import FaultCode
from controller.logs import fields
from controller.observation import Observation
from controller.pacing import Followed, Pacing, followed
from controller.remainder import Delivered
from controller.run_options import Seam
from controller.stuck import StuckWatch
from controller.timeline import Actions

USE_S = 0.007
"""From an answer's arrival to the first command made of it: control wakes, leads by 1 ms, and the motor process is
woken or at its next tick."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """The motion that requests are wanted for (0: none), and how."""

    motion_id: int
    prompt: str
    seam: Seam
    execution_horizon: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked chunk, and how it came about. server_times_ms: as told by the server, by the names of a trace."""

    chunk_id: int
    motion_id: int
    observation: Observation
    t_asked_ns: int
    t_sent_ns: int
    t_received_ns: int
    server_times_ms: dict[str, float]
    rate_hz: float
    actions: Actions


class LinkMemory:
    """The link's side of shared memory: orders and control's plan are read here, chunks and faults written."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.pacing, self.delivered, self.stuck = Pacing(), Delivered(), StuckWatch()
        self.delay = ExpectedDelay(child.config.policy.delay_quantile)
        self._orders = child.open("link_order").reader()
        self._order = np.zeros((), layout.LINK_ORDER)
        self._plans = child.open("plan").reader()
        self._plan = np.zeros((), layout.PLAN)
        self._chunk_writer = child.open("chunk").writer()
        self._chunk = np.zeros((), layout.CHUNK)
        self._chunk_id = time.monotonic_ns() // 1_000_000  # a restarted link goes on with higher numbers
        child.status["expected_delay_ms"] = math.nan

    def next_chunk_id(self) -> int:
        self._chunk_id += 1
        return self._chunk_id

    def order(self) -> Order:
        """The supervisor's newest order."""
        self._orders.newest(self._order)
        return Order(
            motion_id=int(self._order["motion_id"]),
            prompt=layout.text(self._order["prompt"]),
            seam=Seam(int(self._order["seam"])),
            execution_horizon=int(self._order["execution_horizon"]),
        )

    def plan(self, motion_id: int) -> Followed | None:
        """What control follows of this motion; None before it does."""
        if not self._plans.newest(self._plan):
            return None
        plan = followed(self._plan, self.child.config.control.speed_ramp_s)
        return plan if plan is not None and plan.motion_id == motion_id else None

    def trip(self, code: FaultCode, text: str, motion_id: int) -> None:
        told = fields(fault=code.name.lower(), motion_id=motion_id, request_id=self._chunk_id)
        log.info("reports %s in motion %d: %s", code.name.lower(), motion_id, text, extra=told)
        self.child.status["error"] = text.encode()[:240]
        self.child.trip(time.monotonic_ns(), code, text, motion_id)

    def note_delay(self, observation: Observation, t_received_ns: int) -> None:
        """Take the delay of an observation's answer for a sample of those to come."""
        self.delay.add((t_received_ns - observation.t_observation_ns) * 1e-9 + USE_S)
        self.child.status["expected_delay_ms"] = self.delay.seconds * 1e3

    def deliver(self, answer: Answer) -> None:
        """Publish a checked chunk and wake control."""
        record, status, observation = self._chunk, self.child.status, answer.observation
        record["chunk_id"], record["motion_id"] = answer.chunk_id, answer.motion_id
        record["t_exposure_oldest_ns"] = observation.t_exposure_oldest_ns
        record["t_frame_ns"], record["t_ready_ns"] = observation.t_frame_ns, observation.t_ready_ns
        record["t_asked_ns"], record["t_sent_ns"] = answer.t_asked_ns, answer.t_sent_ns
        record["t_received_ns"] = answer.t_received_ns
        for name, value in answer.server_times_ms.items():
            record[name] = value
        record["t_observation_ns"] = observation.t_observation_ns
        record["action_rate_hz"], record["n_steps"] = answer.rate_hz, len(answer.actions)
        record["actions"][: len(answer.actions)] = answer.actions
        self.delivered.remember(answer.chunk_id, answer.actions)
        self._chunk_writer.write(record)
        self.pacing.delivered(answer.chunk_id, time.monotonic_ns())
        self.child.board.chunk_wake.set()
        status["error"] = b""
        if status["first_chunk_motion_id"] != answer.motion_id:
            status["first_chunk_motion_id"] = answer.motion_id
            self.child.beat(time.monotonic_ns())
            self.child.board.attention.set()
