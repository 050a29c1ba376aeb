"""Notices that something pushes against a moving joint. Pure; called by the motor process at every tick.

Looks at the external effort that the driver reports. A joint that is not reported (nan) is not watched; one that is no
longer in the middle of a motion is a fault. Time within the bound counts against time beyond it, so that noise hides no
contact. A motion may begin under a load beyond the bound, because that is how an arm gets away from what it has run
into: then the load may fall but not grow, until it is within the bound again.
"""

from __future__ import annotations

import numpy as np

from controller.faults import FaultCode
from controller.robots.base import GRIPPERS, JOINT_NAMES, Vector

GROWTH = 0.25
"""A load that a motion began with may grow by so much of its bound."""


class ContactWatch:
    """bound: largest external effort of each joint (N m, N), None: nothing is watched."""

    def __init__(self, bound: Vector | None, contact_s: float) -> None:
        self._bound = np.full(len(JOINT_NAMES), np.inf) if bound is None else bound
        self._contact_ns = round(1e9 * contact_s)
        self._allowed: Vector | None = None
        self._reported = np.zeros(len(JOINT_NAMES), dtype=bool)
        self._beyond_ns = np.zeros(len(JOINT_NAMES), dtype=np.int64)
        self._t_ns = 0

    def check(self, now_ns: int, following: bool, effort: Vector) -> tuple[FaultCode, str] | None:
        """The fault, once a joint has been beyond its bound for contact_s while following, less the time within it."""
        if not following:
            self._allowed = None
            return None
        load = np.abs(effort)
        if self._allowed is None:
            self._beyond_ns[:] = 0
            self._t_ns = now_ns
            self._allowed = np.full_like(load, np.inf)
            self._reported = ~np.isnan(effort)
        lost = self._reported & ~np.isfinite(effort)
        if lost.any():
            worst = int(np.argmax(lost))
            text = f"{JOINT_NAMES[worst]}: external effort {effort[worst]} is not finite, and was reported before"
            return FaultCode.JOINTS_INVALID, text
        lower = np.where(load > self._bound, load + GROWTH * self._bound, self._bound)
        self._allowed = np.minimum(self._allowed, lower)
        beyond = load > self._allowed
        dt_ns, self._t_ns = now_ns - self._t_ns, now_ns
        over_ns = self._beyond_ns = np.maximum(self._beyond_ns + np.where(beyond, dt_ns, -dt_ns), 0)
        if not (over_ns >= self._contact_ns).any():
            return None
        worst = int(np.argmax(np.where(over_ns >= self._contact_ns, load / self._allowed, 0.0)))
        unit = "N" if worst in GRIPPERS else "N m"
        return FaultCode.CONTACT, (
            f"{JOINT_NAMES[worst]} is pushed with {effort[worst]:.1f} {unit} (bound {self._allowed[worst]:.1f}) "
            f"for {over_ns[worst] * 1e-6:.0f} ms"
        )
