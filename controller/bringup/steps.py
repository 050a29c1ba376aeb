"""The steps of a bring-up in their order, and what a person is asked before anything moves. Pure."""

from __future__ import annotations

from controller.robots.base import JOINT_NAMES
from controller.summary import Status, look_up

CHECKLIST, READING, HOME = "checklist", "reading", "home"
DRY_RUN, SLOW_RUN, FULL_RUN = "dry run", "slow run", "full speed"
JOGS = tuple(f"jog {joint}" for joint in JOINT_NAMES)
STEPS = (CHECKLIST, READING, *JOGS, HOME, DRY_RUN, SLOW_RUN, FULL_RUN)

HANDS_OFF = (
    "Nobody is within reach of the arms, 80 cm around each base, and nobody will come.",
    "The table is empty, nothing hangs above it, and no cable can be caught.",
    "The switch that cuts the arms' power is within my reach. I know that Ctrl-C stops a\n"
    "motion here, that `pi0ctl estop` stops it from anywhere, and that neither cuts the power.",
    "`pi0ctl doctor` has no FAIL left, and I have read what it warns of.",
)
GUARD_OFF = "The collision guard is off (guard.enabled = false): I watch for collisions myself."
NOT_FELT = "What the arms run into is not felt (contact: {}): I watch for that too."

POSES = """All joints at 0 deg: each arm lies folded over its base, hand flat, fingers closed, pointing
at the other arm. Home: upper arm up and back, forearm forward, hand level, fingers open."""


def checklist(status: Status) -> tuple[str, ...]:
    """What must be said yes to, sentence by sentence."""
    contact = look_up(status, "robot", "contact")
    guard = () if look_up(status, "guard", "enabled") else (GUARD_OFF,)
    felt = () if contact == "watched" else (NOT_FELT.format(contact),)
    return (*HANDS_OFF, *guard, *felt)


def missing(begin: str, confirmed: set[str]) -> list[str]:
    """Steps before `begin` that nobody has confirmed yet; the checklist is gone through every time."""
    return [step for step in STEPS[1 : STEPS.index(begin)] if step not in confirmed]
