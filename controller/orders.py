"""What the supervisor tells its children: the permission to move, and what the policy link shall ask for.

Two records in shared memory, written by nobody else and read first in every tick.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from controller import layout
from controller.board import OwnedBoard
from controller.logs import LEVELS
from controller.robots.base import Vector
from controller.run_options import RunOptions


class Orders:
    """The permit and the link's order, and the numbers in them that only rise."""

    def __init__(self, owned: OwnedBoard, lease_s: float) -> None:
        self._lease_ns = round(lease_s * 1e9)
        self._permit_writer = owned.rings["permit"].writer()
        self._permit = np.zeros((), layout.PERMIT)
        self._permit["goal"] = np.nan
        self._link_writer = owned.rings["link_order"].writer()
        self._link_wake = owned.board.order_wake

    @property
    def motion_id(self) -> int:
        return int(self._permit["motion_id"])

    @property
    def reset_count(self) -> int:
        return int(self._permit["reset_count"])

    def age_s(self) -> float:
        """Time since the permit was last written."""
        return (time.monotonic_ns() - int(self._permit["t_ns"])) * 1e-9

    def renew(self, state: int | None = None) -> None:
        """Write the permit with a new lease, and with a new state if one is given."""
        permit, now_ns = self._permit, time.monotonic_ns()
        permit["t_ns"], permit["lease_until_ns"] = now_ns, now_ns + self._lease_ns
        if state is not None:
            permit["state"] = state
        self._permit_writer.write(permit)

    def begin_motion(self, *, goal: Vector | None = None, options: RunOptions | None = None) -> int:
        """A new number for the next motion; it takes effect with the next renewal. goal: of a move, none of a run."""
        self._permit["motion_id"] += 1
        self._permit["goal"] = np.nan if goal is None else goal
        self.play(options or RunOptions())
        return self.motion_id

    def play(self, options: RunOptions) -> None:
        """How the run is to be played, or the move made, from the next renewal on."""
        self._permit["speed"], self._permit["seam"] = options.speed, options.seam
        self._permit["dry"] = options.dry

    def reset(self) -> None:
        """Tell the children to forget their faults."""
        self._permit["reset_count"] += 1
        self.renew()

    def lay_out_scene(self, seed: int) -> None:
        self._permit["scene_count"] += 1
        self._permit["scene_seed"] = seed
        self.renew()

    def log_at(self, level: str) -> None:
        """How much the children say from the next renewal on."""
        self._permit["log_level"] = LEVELS.index(level)

    def dismiss(self, pids: Sequence[int]) -> None:
        """Tell these children to end, because others take their places; empty: nobody any more."""
        self._permit["dismissed"] = 0
        self._permit["dismissed"][: len(pids)] = pids
        self.renew()

    def end(self) -> None:
        """Tell the children to end."""
        self._permit["exit"] = 1
        self.renew()

    def ask_policy(self, motion_id: int, prompt: str, options: RunOptions | None = None) -> None:
        """Have the link ask for actions for this motion; motion 0: for none."""
        options = options or RunOptions()
        order = np.zeros((), layout.LINK_ORDER)
        order["t_ns"], order["motion_id"], order["prompt"] = time.monotonic_ns(), motion_id, prompt.encode()
        order["seam"], order["execution_horizon"] = options.seam, options.execution_horizon
        self._link_writer.write(order)
        self._link_wake.set()
