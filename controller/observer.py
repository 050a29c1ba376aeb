"""Builds an observation out of shared memory: the newest frame of every camera and the joints at that time.

Runs in the policy link. Tiles are finished by the camera processes; here they are only copied, or encoded if wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller import layout
from controller.board import frame_ring
from controller.child import Child
from controller.observation import Observation
from controller.robots.base import Vector

Encode = Callable[[NDArray[np.uint8]], bytes]

FIELDS = ("t_exposure_ns", "t_arrival_ns", "t_ready_ns", "number", "rate_hz", "tile")


class _View:
    def __init__(self, child: Child, name: str) -> None:
        self.name = name
        ring = child.open(frame_ring(name))
        self.ring, self.reader, self.record = ring, ring.reader(), ring.blank()
        self.used = ring.count


class Observer:
    """The cameras that a server wants, and the joint history. One per connection.

    encode: makes of a tile (3, height, width) what is sent of it; None sends it raw.
    """

    def __init__(
        self, child: Child, cameras: tuple[str, ...], with_environment: bool, encode: Encode | None = None
    ) -> None:
        self._encode = encode
        self._views = [_View(child, name) for name in cameras]
        self._joints = child.open("joints")
        self._joint_reader, self._joint = self._joints.reader(), self._joints.blank()
        self._world = child.open("world").reader() if with_environment else None
        self._world_record = np.zeros((), layout.WORLD)

    def waiting_for(self) -> list[str]:
        """Cameras without a frame newer than the one last sent."""
        return [view.name for view in self._views if view.ring.count <= view.used]

    def observe(self, prompt: str) -> Observation:
        """Copy the newest of everything. Call only when waiting_for() is empty."""
        for view in self._views:
            view.used = view.reader.newest(view.record, fields=FIELDS)
        exposures = [int(view.record["t_exposure_ns"]) for view in self._views]
        t_state_ns, q = self._joints_at(min(exposures))
        request: dict[str, Any] = {
            "state": q,
            "images": {view.name: self._picture(view) for view in self._views},
            "prompt": prompt,
        }
        if self._world is not None and self._world.newest(self._world_record):
            n = int(self._world_record["n_environment"])
            request["environment_state"] = self._world_record["environment"][:n].copy()
        return Observation(
            request=request,
            t_observation_ns=t_state_ns,
            t_exposure_oldest_ns=min(exposures),
            t_exposure_newest_ns=max(exposures),
            t_frame_ns=max(int(view.record["t_arrival_ns"]) for view in self._views),
            t_ready_ns=max(int(view.record["t_ready_ns"]) for view in self._views),
            slowest_hz=min(float(view.record["rate_hz"]) for view in self._views),
        )

    def _picture(self, view: _View) -> NDArray[np.uint8] | bytes:
        tile: NDArray[np.uint8] = view.record["tile"]
        return tile if self._encode is None else self._encode(tile)

    def _joints_at(self, t_ns: int) -> tuple[int, Vector]:
        """The reading nearest to t_ns, looked for backwards from the newest."""
        newest = self._joint_reader.newest(self._joint)
        best: tuple[int, Vector] | None = None
        for number in range(newest, 0, -1):
            if not self._joint_reader.at(number, self._joint):
                break
            t_joint_ns = int(self._joint["t_ns"])
            if best is not None and abs(t_joint_ns - t_ns) > abs(best[0] - t_ns):
                break
            best = t_joint_ns, self._joint["q"].copy()
        if best is None:
            raise RuntimeError("no joint reading yet")
        return best
