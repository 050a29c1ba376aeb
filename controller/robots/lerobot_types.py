"""What is known of LeRobot's robot types, which their interface does not tell: units, and which calls move the arms.

Pure. LeRobot lets `connect` and `disconnect` do anything. A type that is not in the table may do anything, too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controller.config_lerobot import SIMULATED, Units


@dataclass(frozen=True, slots=True)
class RobotType:
    """connect, disconnect: what the call does to the arms, empty when it moves nothing. close: calls that end the
    drivers without a motion, from the robot on. efforts: .eff and .ext_eff are N m and N."""

    units: Units
    connect: str = ""
    disconnect: str = ""
    close: tuple[str, ...] = ()
    efforts: bool = False


TROSSEN = RobotType(
    Units(arm="rad", gripper="m"),
    connect="drives one arm after the other from wherever it is to its staged pose, in 2 s each",
    disconnect="drives one arm after the other to its staged pose and then to zero, in 8 s",
    close=("left_arm.driver.cleanup", "right_arm.driver.cleanup"),
    efforts=True,
)
TYPES = {
    "bi_widowxai_follower": TROSSEN,
    "bi_widowxai_follower_robot": TROSSEN,
    SIMULATED: RobotType(Units(arm="rad", gripper="m")),
}
UNKNOWN = "may drive the arms anywhere, for all that is known here of this type"


def moves(kind: str, call: str) -> str:
    """What `connect` or `disconnect` of this type does to the arms; empty when it moves nothing."""
    return str(getattr(TYPES[kind], call)) if kind in TYPES else UNKNOWN


def refusal(kind: str, allowed: Collection[str], units: Units | None) -> str:
    """Why a robot of this type cannot be opened; empty when it can."""
    if (what := moves(kind, "connect")) and "connect" not in allowed:
        native = "; robot.kind = 'trossen' drives the same arms and moves nothing" if TYPES.get(kind) is TROSSEN else ""
        return (
            f"connect() of {kind!r} {what}. If that is wanted, stand clear and set "
            f"robot.lerobot.allow_moves = ['connect']{native}"
        )
    if units is None and kind not in TYPES:
        return (
            f"the units of {kind!r} are not known here; say them in robot.lerobot.units, "
            "like { arm = 'rad', gripper = 'm' }"
        )
    if units is not None and kind in TYPES and units != TYPES[kind].units:
        known = TYPES[kind].units
        return (
            f"robot.lerobot.units are {units.arm} and {units.gripper}, but {kind!r} has {known.arm} and "
            f"{known.gripper}; leave them out"
        )
    return ""
