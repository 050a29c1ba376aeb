"""What an arm's controller and its driver report, decoded: code, joint, meaning, next step. Pure.

The driver reports in prose: an exception whose text holds the controller's words for the error, and sometimes the
controller's own log. The words of each code come from the driver (`information`), so they are those of its version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.robots.base import ARM_JOINTS


@dataclass(frozen=True, slots=True)
class ArmError:
    """One error of the controller's firmware. name: as the driver's ErrorState spells it."""

    code: int
    name: str
    meaning: str
    next_step: str


WIRING = "switch the arm off, check the cables between controller and arm, switch it on"
VERSIONS = "compare the versions of driver and firmware (pi0ctl doctor)"

ERRORS: dict[int, ArmError] = {
    error.code: error
    for error in (
        ArmError(0, "none", "no error", "nothing to do"),
        ArmError(1, "ethernet_init_failed", "the controller could not start its network", "check the network cable"),
        ArmError(2, "can_init_failed", "the controller could not start the bus to its joints", WIRING),
        ArmError(3, "joint_command_failed", "a message to a joint could not be sent", WIRING),
        ArmError(4, "joint_feedback_failed", "a joint did not answer", WIRING),
        ArmError(5, "joint_clear_error_failed", "a joint did not clear its error", WIRING),
        ArmError(6, "joint_enable_failed", "a joint did not switch on", WIRING),
        ArmError(7, "joint_disable_failed", "a joint did not switch off", WIRING),
        ArmError(8, "joint_set_home_failed", "a joint did not take its zero", WIRING),
        ArmError(9, "joint_disabled_unexpectedly", "a joint switched itself off", WIRING),
        ArmError(10, "joint_overheated", "a joint is too hot", "switch the arm off and let it cool down"),
        ArmError(11, "invalid_mode", "the controller does not know the mode it was given", VERSIONS),
        ArmError(12, "invalid_robot_command", "the controller does not know the command it was given", VERSIONS),
        ArmError(13, "invalid_configuration_address", "the controller does not know a setting", VERSIONS),
        ArmError(14, "robot_input_mode_mismatch", "a command was of another mode than its joint", VERSIONS),
        ArmError(
            15,
            "joint_limit_exceeded",
            "a joint was measured beyond its limit of position, velocity or effort",
            "free the arm, keep the fault's dump, switch the arm off and on",
        ),
        ArmError(16, "robot_input_infinite", "a command was no number", "keep the fault's dump, report it"),
    )
}

LINK = (
    (
        re.compile(r"TCP server|handshake", re.IGNORECASE),
        "check power and cable of the arm, its address in the configuration, and that no other program holds it",
    ),
    (re.compile(r"must match"), "install the driver of the firmware's major.minor, or update the firmware"),
    (re.compile(r"Model mismatch"), "check robot.trossen.model, and that the address is an arm of this kit"),
    (
        re.compile(r"UDP|TCP connection closed|initial joint outputs|messages were lost"),
        "check power and cable of the arm, and load on this machine",
    ),
    (re.compile(r"Invalid IP address"), "correct the address in the configuration"),
)
"""The driver's texts on the connection, and what to do."""

JOINT = re.compile(r"\bjoint[ _]?([0-6])\b", re.IGNORECASE)
SIGNPOST = re.compile(r"\s*Please refer to .*", re.DOTALL)


def decode(text: str, information: Mapping[int, str]) -> ArmError | None:
    """The controller's error that a text of the driver tells of. information: the driver's words for each code."""
    for code, words in information.items():
        if code and words in text:
            return ERRORS.get(code) or ArmError(code, f"error_{code}", words, VERSIONS)
    return None


def joint_of(text: str) -> str:
    """The joint that a text names; empty when it names none."""
    match = JOINT.search(text)
    return ARM_JOINTS[int(match[1])] if match else ""


def explain(arm: str, text: str, information: Mapping[int, str]) -> str:
    """One line for an operator, short enough for a fault's text: which arm, what, which joint, what to do."""
    said = " ".join(SIGNPOST.sub("", text).split())
    joint = joint_of(said)
    if error := decode(said, information):
        where = f" ({joint})" if joint else ""
        return f"{arm}: error {error.code} {error.name}{where}: {error.meaning}; {error.next_step}"
    for pattern, next_step in LINK:
        if pattern.search(said):
            return f"{arm}: {said}; {next_step}"
    return f"{arm}: {said}; see the log"
