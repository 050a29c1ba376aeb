"""The board: every ring and every wake-up of one daemon, made by the supervisor, handed to each child.

README of `shm` has the protocol; `layout` has the records. Only the supervisor creates and unlinks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from controller import layout
from controller.config import Config
from shm import Owner, Ring, RingSpec, Wake

CELL = 4
"""Slots of a ring that is read for its newest value."""

FRAME_SLOTS = 4
HISTORY_S = 6.0
"""What every ring that the recorder drains holds: the five seconds before a fault that its dump goes back to, and one
in which the recorder may be late or be started again."""


def status_ring(process: str) -> str:
    return f"status.{process.replace(' ', '.')}"


def frame_ring(camera: str) -> str:
    return f"frames.{camera}"


def camera_process(camera: str) -> str:
    return f"camera {camera}"


def history(rate_hz: float) -> int:
    """Slots of a ring that is written at this rate and holds HISTORY_S; the oldest may be about to be overwritten."""
    return max(CELL, math.ceil(HISTORY_S * rate_hz) + 1)


def specs(config: Config) -> list[RingSpec]:
    """Every ring of a daemon with this configuration."""
    control_hz = config.control.rate_hz
    chunk_hz = max(camera.rate_hz for camera in config.cameras.values())  # each needs a fresh frame of a camera
    rings: list[tuple[str, Any, int]] = [
        ("permit", layout.PERMIT, CELL),
        ("link_order", layout.LINK_ORDER, CELL),
        ("chunk", layout.CHUNK, history(chunk_hz)),
        ("piece", layout.PIECE, CELL),
        ("plan", layout.PLAN, CELL),
        ("joints", layout.JOINTS, history(config.robot.rate_hz + chunk_hz)),  # a new plan wakes it too
        ("handed", layout.HANDED, history(chunk_hz)),
        ("tick", layout.TICK, history(control_hz + chunk_hz)),  # a chunk wakes it too
        ("world", layout.WORLD, 8),
        ("event", layout.EVENT, 64),
        ("fault", layout.FAULT, 16),
        (status_ring("control"), layout.CONTROL_STATUS, CELL),
        (status_ring("motor"), layout.MOTOR_STATUS, CELL),
        (status_ring("link"), layout.LINK_STATUS, CELL),
        (status_ring("guard"), layout.GUARD_STATUS, CELL),
        (status_ring("recorder"), layout.RECORDER_STATUS, CELL),
    ]
    for name, camera in config.cameras.items():
        dtype = layout.frame(camera.height, camera.width, config.policy.image_size)
        rings.append((frame_ring(name), dtype, FRAME_SLOTS))
        rings.append((status_ring(camera_process(name)), layout.CAMERA_STATUS, CELL))
    return [RingSpec(name, dtype, slots, layout.VERSION) for name, dtype, slots in rings]


@dataclass(frozen=True, slots=True)
class Board:
    """Handles of all rings and the wake-ups; picklable to spawned children."""

    handles: dict[str, Any]
    frame_wake: Wake  # a camera -> link
    chunk_wake: Wake  # link -> control
    piece_wake: Wake  # control -> motor: the first piece of a new chunk
    order_wake: Wake  # supervisor -> link
    plan_wake: Wake  # control -> guard
    attention: Wake  # a child with a fault -> supervisor

    def open(self, name: str) -> Ring:
        """Attach to a ring. Raises shm.ShmError."""
        return Ring.attach(self.handles[name])


class OwnedBoard:
    """The supervisor's side: creates everything, unlinks everything."""

    def __init__(self, config: Config) -> None:
        """Raises shm.ShmError, leaving nothing behind."""
        self.rings: dict[str, Ring] = {}
        self._wakes: list[Wake] = []
        owner = Owner.current()
        try:
            for spec in specs(config):
                self.rings[spec.name] = Ring.create(owner, spec)
        except Exception:
            self.close()
            raise
        handles = {name: ring.handle for name, ring in self.rings.items()}
        self._wakes = [Wake() for _ in range(6)]
        self.board = Board(handles, *self._wakes)

    def close(self) -> None:
        for ring in self.rings.values():
            ring.close()
            ring.unlink()
        self.rings.clear()
        for wake in self._wakes:
            wake.close()
