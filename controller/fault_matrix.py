"""What can fail in which state, what the machine makes of it, and within which time. Pure.

One row for each fault, one column for each state in which something can go wrong. The supervisor looks here whether
a loss or a child's report ends the motion of now; the page about faults shows the whole; a test raises each case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from controller.config import Config
from controller.faults import FaultCode
from controller.joint_watch import FROZEN_S
from controller.states import State

LOOK_S = 0.01
"""The supervisor's period: it renews the lease and looks at every child."""


class Reaction(Enum):
    """What happens. The first three are faults."""

    BRAKE = "brake, hold, fault"
    STAND = "fault; the arms stand, by their firmware or with the simulated world"
    FAULT = "fault; nothing moved"
    REFUSED = "a run is refused, with the reason"
    HOLD = "every motion is refused, with the reason"
    TOLD = "said in `pi0ctl status`; the motion goes on"


FAULTING = frozenset({Reaction.BRAKE, Reaction.STAND, Reaction.FAULT})


@dataclass(frozen=True, slots=True)
class Row:
    """None: cannot happen in that state. within: names of TERMS, whose sum is the bound on the time from the cause to
    the first braking command."""

    idle: Reaction | None
    homing: Reaction | None
    running: Reaction | None
    within: tuple[str, ...] = ()

    def at(self, state: State) -> Reaction | None:
        """The reaction in a state. In `fault` everything has been braked already, and more is only told."""
        return {State.IDLE: self.idle, State.HOMING: self.homing, State.RUNNING: self.running}.get(state)


BRAKE, STAND, FAULT, REFUSED, HOLD, TOLD = Reaction
NEVER = None

REPORT = ("a look", "a motor tick")
"""A child reports at once and wakes the supervisor, whose word the motor process reads in its next tick."""

MATRIX: dict[FaultCode, Row] = {
    FaultCode.ESTOP: Row(FAULT, BRAKE, BRAKE, REPORT),
    FaultCode.LEASE_LOST: Row(NEVER, BRAKE, BRAKE, ("daemon.lease_s", "a motor tick")),
    FaultCode.CONTROL_LOST: Row(FAULT, BRAKE, BRAKE, ("control.command_s", "a motor tick")),
    FaultCode.MOTOR_LOST: Row(FAULT, STAND, STAND),
    FaultCode.CAMERA_LOST: Row(REFUSED, TOLD, BRAKE, ("its heartbeat's bound", *REPORT)),
    FaultCode.LINK_LOST: Row(REFUSED, TOLD, BRAKE, ("its heartbeat's bound", *REPORT)),
    FaultCode.GUARD_LOST: Row(HOLD, BRAKE, BRAKE, ("guard.lag_s", *REPORT)),
    FaultCode.POLICY_LOST: Row(REFUSED, TOLD, BRAKE, ("policy.request_timeout_s", *REPORT)),
    FaultCode.POLICY_REFUSED: Row(REFUSED, TOLD, BRAKE, REPORT),
    FaultCode.ANSWER_INVALID: Row(REFUSED, TOLD, BRAKE, REPORT),
    FaultCode.PLAN_ENDED: Row(NEVER, NEVER, BRAKE, ("a control tick", "a motor tick")),
    FaultCode.CAMERA_STALE: Row(REFUSED, TOLD, BRAKE, ("policy.request_timeout_s", "cameras.*.max_age_s", *REPORT)),
    FaultCode.OBSERVATION_SPREAD: Row(REFUSED, NEVER, BRAKE, REPORT),
    FaultCode.CAMERA_FROZEN: Row(REFUSED, TOLD, BRAKE, ("cameras.*.patience_frames", *REPORT)),
    FaultCode.CAMERA_DARK: Row(REFUSED, TOLD, BRAKE, ("cameras.*.patience_frames", *REPORT)),
    FaultCode.CAMERA_TIME: Row(REFUSED, TOLD, BRAKE, ("a frame", *REPORT)),
    FaultCode.POLICY_STUCK: Row(NEVER, NEVER, BRAKE, REPORT),
    FaultCode.COMMAND_STALE: Row(NEVER, BRAKE, BRAKE, ("control.command_s", "a motor tick")),
    FaultCode.COMMAND_REFUSED: Row(NEVER, BRAKE, BRAKE, ("a motor tick",)),
    FaultCode.TRACKING: Row(NEVER, BRAKE, BRAKE, ("a motor tick",)),
    FaultCode.START_MISMATCH: Row(NEVER, FAULT, FAULT),
    FaultCode.HOMING_TIMEOUT: Row(NEVER, BRAKE, NEVER, ("robot.homing.settle_s", "a control tick", *REPORT)),
    FaultCode.ROBOT_ERROR: Row(FAULT, STAND, STAND),
    FaultCode.JOINTS_FROZEN: Row(NEVER, BRAKE, BRAKE, (f"{FROZEN_S:g} s", "a motor tick")),
    FaultCode.JOINTS_TIME: Row(HOLD, BRAKE, BRAKE, ("a motor tick",)),
    FaultCode.JOINTS_INVALID: Row(HOLD, BRAKE, BRAKE, ("a motor tick",)),
    FaultCode.CONTACT: Row(NEVER, BRAKE, BRAKE, ("robot.limits.contact_s", "a motor tick")),
    FaultCode.COLLISION_AHEAD: Row(NEVER, BRAKE, BRAKE, REPORT),
}


def trips(code: FaultCode, state: State) -> bool:
    """Whether this, found in this state, is a fault."""
    return MATRIX[code].at(state) in FAULTING


TERMS: dict[str, Callable[[Config, float], float]] = {
    "daemon.lease_s": lambda config, _: config.daemon.lease_s,
    "control.command_s": lambda config, _: config.control.command_s,
    "policy.request_timeout_s": lambda config, _: config.policy.request_timeout_s,
    "cameras.*.max_age_s": lambda config, _: max(camera.max_age_s for camera in config.cameras.values()),
    "cameras.*.patience_frames": lambda config, _: max(
        camera.patience_frames / camera.rate_hz for camera in config.cameras.values()
    ),
    "guard.lag_s": lambda config, _: config.guard.lag_s,
    "robot.homing.settle_s": lambda config, _: config.robot.homing.settle_s,
    "robot.limits.contact_s": lambda config, _: config.robot.limits.contact_s,
    f"{FROZEN_S:g} s": lambda _, __: FROZEN_S,
    "its heartbeat's bound": lambda _, beat_s: beat_s,
    "a frame": lambda config, _: max(1.0 / camera.rate_hz for camera in config.cameras.values()),
    "a look": lambda _, __: LOOK_S,
    "a control tick": lambda config, _: 1.0 / config.control.rate_hz,
    "a motor tick": lambda config, _: 1.0 / config.robot.rate_hz,
}
"""Seconds under a configuration and the bound on the heartbeat of the process whose loss the row is."""


def bound_s(code: FaultCode, config: Config, beat_s: float) -> float | None:
    """The bound on the time from the cause to the first braking command; None where nothing is braked."""
    within = MATRIX[code].within
    return sum(TERMS[term](config, beat_s) for term in within) if within else None
