"""What a person sees when one joint of the kit moves, in words. Pure.

The person stands at the camera post, behind the table's near edge, and looks at the table: the left arm is on their
left and faces right, the right arm faces left. A test holds every word against the kit's kinematics.
"""

from __future__ import annotations

from controller.jog import Jog
from controller.robots.base import ARM_JOINTS

WHAT = {
    "joint_0": "the whole arm turns on its base",
    "joint_1": "the upper arm turns at the shoulder",
    "joint_2": "the forearm turns at the elbow",
    "joint_3": "the hand tips at the wrist",
    "joint_4": "the hand swings sideways",
    "joint_5": "the hand rolls about its fingers",
    "left_carriage_joint": "the gripper moves",
}

AWAY, NEAR = "away from you", "towards you"

POSITIVE = {
    "joint_0": {"left": f"the hand goes {AWAY}", "right": f"the hand comes {NEAR}"},
    "joint_1": {"left": "the hand goes down", "right": "the hand goes down"},
    "joint_2": {"left": "the hand goes up", "right": "the hand goes up"},
    "joint_3": {"left": "the fingers point higher", "right": "the fingers point higher"},
    "joint_4": {"left": f"the fingers come {NEAR}", "right": f"the fingers go {AWAY}"},
    "joint_5": {"left": "clockwise, seen from the forearm", "right": "clockwise, seen from the forearm"},
    "left_carriage_joint": {"left": "the fingers open", "right": "the fingers open"},
}

OPPOSITE = {
    f"goes {AWAY}": f"comes {NEAR}",
    f"comes {NEAR}": f"goes {AWAY}",
    f"go {AWAY}": f"come {NEAR}",
    f"come {NEAR}": f"go {AWAY}",
    "down": "up",
    "up": "down",
    "higher": "lower",
    "clockwise": "counter-clockwise",
    "open": "close",
}


def expected(jog: Jog) -> str:
    """Of arms near the sleep, the start or the staged pose; elsewhere the hand may be behind the shoulder."""
    side, _, joint = jog.joint.partition("_")
    words = POSITIVE[joint][side]
    return f"{side} arm, {WHAT[joint]}: {words if jog.by > 0.0 else _opposite(words)}"


def _opposite(words: str) -> str:
    for word, other in OPPOSITE.items():
        if word in words:
            return words.replace(word, other)
    raise KeyError(words)


assert set(WHAT) == set(POSITIVE) == set(ARM_JOINTS)
