"""Everything the machine can suffer, as one table: what happened, why, and what to do next. Pure.

A fault latches: it drops the plan, the motor process brakes to a hold, and only an operator's `reset`
leads back to idle. The child or supervisor that raises a fault adds the measured number and its bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class FaultCode(IntEnum):
    """Values are written to shared memory and to recordings: never reuse one (2 was one)."""

    NONE = 0
    ESTOP = 1
    LEASE_LOST = 3
    CONTROL_LOST = 10
    MOTOR_LOST = 11
    CAMERA_LOST = 12
    LINK_LOST = 13
    GUARD_LOST = 14
    POLICY_LOST = 20
    POLICY_REFUSED = 21
    ANSWER_INVALID = 22
    PLAN_ENDED = 23
    CAMERA_STALE = 24
    OBSERVATION_SPREAD = 25
    CAMERA_FROZEN = 26
    CAMERA_DARK = 27
    CAMERA_TIME = 28
    POLICY_STUCK = 29
    COMMAND_STALE = 30
    COMMAND_REFUSED = 31
    TRACKING = 32
    START_MISMATCH = 33
    HOMING_TIMEOUT = 34
    ROBOT_ERROR = 35
    JOINTS_FROZEN = 36
    JOINTS_TIME = 37
    CONTACT = 38
    COLLISION_AHEAD = 39
    JOINTS_INVALID = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: operator's text."""

    title: str
    cause: str
    next_step: str


FAULTS: dict[FaultCode, Fault] = {
    FaultCode.ESTOP: Fault(
        "emergency stop",
        "an operator asked for it",
        "make sure the arms are clear, then reset, home and run",
    ),
    FaultCode.LEASE_LOST: Fault(
        "motion lease lost",
        "the supervisor did not renew the permission to move in time: it hung or the machine is overloaded",
        "look for load on the machine (pi0ctl status, top), then reset, home and run",
    ),
    FaultCode.CONTROL_LOST: Fault(
        "control process lost",
        "the control process ended or its heartbeat stopped",
        "it is started again by itself; read its last log lines, then reset, home and run",
    ),
    FaultCode.MOTOR_LOST: Fault(
        "motor process lost",
        "it ended or its heartbeat stopped; real arms brake by their firmware, simulated ones stand still",
        "it is started again by itself; check the arms, then reset, home and run",
    ),
    FaultCode.CAMERA_LOST: Fault(
        "camera process lost",
        "a camera process that the policy needs ended or its heartbeat stopped",
        "it is started again by itself; check cable and power, then reset, home and run",
    ),
    FaultCode.LINK_LOST: Fault(
        "policy link lost",
        "the process that talks to the policy server ended or its heartbeat stopped",
        "it is started again by itself; then reset, home and run",
    ),
    FaultCode.GUARD_LOST: Fault(
        "collision guard lost",
        "the process that looks ahead for collisions ended, hung, or fell behind the motion",
        "it is started again by itself; look for load on the machine, then reset, home and run",
    ),
    FaultCode.POLICY_LOST: Fault(
        "policy server lost",
        "the connection to the policy server closed or a request was not answered in time",
        "check the server and the network; the link reconnects by itself; then reset, home and run",
    ),
    FaultCode.POLICY_REFUSED: Fault(
        "policy server refused",
        "the server answered with an error instead of actions",
        "read the server's log; correct the prompt or the configuration; then reset, home and run",
    ),
    FaultCode.ANSWER_INVALID: Fault(
        "policy answer refused",
        "the server's actions are malformed, not finite or outside the joint limits; none was executed",
        "check that checkpoint, statistics and units belong to this robot; then reset, home and run",
    ),
    FaultCode.PLAN_ENDED: Fault(
        "plan ended",
        "the last action chunk was used up before a new one came",
        "check inference time and network (pi0ctl status), then reset, home and run",
    ),
    FaultCode.CAMERA_STALE: Fault(
        "camera stale",
        "a camera that the policy needs delivered no fresh frame in time",
        "check the camera's cable, power and rate (pi0ctl status), then reset, home and run",
    ),
    FaultCode.OBSERVATION_SPREAD: Fault(
        "observation spread too large",
        "the newest frames of the cameras are too far apart in time to be one observation",
        "check the cameras' rates (pi0ctl status), then reset, home and run",
    ),
    FaultCode.CAMERA_FROZEN: Fault(
        "camera frozen",
        "a camera that the policy needs shows the same picture again and again while the arms move",
        "unplug and replug the camera, look at its picture, then reset, home and run",
    ),
    FaultCode.CAMERA_DARK: Fault(
        "camera dark",
        "a camera that the policy needs shows nothing but black",
        "take off its cover, switch on the light, check its exposure, then reset, home and run",
    ),
    FaultCode.CAMERA_TIME: Fault(
        "camera's time runs backwards",
        "a camera stamped a frame earlier than the one before it",
        "restart the camera; if it comes again, use another of its clocks; then reset, home and run",
    ),
    FaultCode.POLICY_STUCK: Fault(
        "policy stuck",
        "the server answers with the same actions again and again although the arms have moved",
        "restart the policy server and read its log, then reset, home and run",
    ),
    FaultCode.COMMAND_STALE: Fault(
        "commands stale",
        "the control process sent no fresh command in time",
        "look for load on the machine, then reset, home and run",
    ),
    FaultCode.COMMAND_REFUSED: Fault(
        "command refused",
        "the motor process's last gate refused a command: beyond a limit, or not finite",
        "keep the recording, report it, then reset, home and run",
    ),
    FaultCode.TRACKING: Fault(
        "tracking error",
        "a joint is too far from its command: it is blocked, overloaded or not powered",
        "clear the obstacle, then reset, home and run",
    ),
    FaultCode.START_MISMATCH: Fault(
        "start mismatch",
        "the joints are not where they were held, so motion cannot start without a jump",
        "check that nobody moved the arms by hand; reset takes the measured pose as the new hold; then home",
    ),
    FaultCode.HOMING_TIMEOUT: Fault(
        "home not reached",
        "the joints did not arrive in time at the pose that a home or a jog led to",
        "check for obstacles and for joint errors, then reset and home",
    ),
    FaultCode.ROBOT_ERROR: Fault(
        "robot error",
        "the robot or its driver reported an error",
        "follow the message; check power and network of the arms; then reset and home",
    ),
    FaultCode.JOINTS_FROZEN: Fault(
        "joint readings frozen",
        "the robot's driver gives the same reading again and again although the joints are commanded to move",
        "check power and network of the arms and the driver's log, then reset and home",
    ),
    FaultCode.JOINTS_TIME: Fault(
        "joint readings' time runs backwards",
        "the robot's driver stamped a reading earlier than the one before it",
        "check the driver's clock and version; restart the controller if reset does not help; then home",
    ),
    FaultCode.JOINTS_INVALID: Fault(
        "joint readings are no numbers",
        "the robot's driver gives a position or velocity that is not finite",
        "check power and network of the arms and the driver's log, then reset and home",
    ),
    FaultCode.CONTACT: Fault(
        "contact",
        "something pushes against a joint harder than its bound: the arm has run into it, or carries too much",
        "free the arm, check robot.limits.contact against the load, then reset, home and run",
    ),
    FaultCode.COLLISION_AHEAD: Fault(
        "collision ahead",
        "the coming motion would bring two bodies together or leave the workspace; the arms were braked before",
        "look at the policy's plan (pi0ctl plot) and at guard in the configuration, then reset, home and run",
    ),
}
