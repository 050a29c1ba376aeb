"""The WORLD record between the simulated robot and everyone who looks at its world, as plain functions.

Written by the motor process, read by the simulated cameras; through shared memory, or in a test through anything
with the same two methods.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller import layout

Record = NDArray[np.void]
Vector = NDArray[np.float64]


class WorldWriter(Protocol):
    """Publishes a record; shm's ring writer."""

    def write(self, record: Record) -> int: ...


class WorldReader(Protocol):
    """Copies the newest record into `out` and returns its number, 0 when there is none; shm's ring reader."""

    def newest(self, out: Record) -> int: ...


def blank() -> Record:
    """An empty WORLD record."""
    return np.zeros((), dtype=layout.WORLD)


def fill(record: Record, t_ns: int, qpos: Vector, environment: Vector) -> None:
    """Write one instant of the world into `record`; scene_count and scene_seed stay as they are."""
    record["t_ns"] = t_ns
    record["qpos"][: qpos.size] = qpos
    record["n_qpos"] = qpos.size
    record["environment"][: environment.size] = environment
    record["n_environment"] = environment.size


def read_qpos(record: Record, n_qpos: int) -> Vector:
    """The record's generalised positions, a copy. Raises ValueError when they are not those of this model."""
    if int(record["n_qpos"]) != n_qpos:
        raise ValueError(f"the WORLD record holds {int(record['n_qpos'])} positions, this model has {n_qpos}")
    qpos = np.array(record["qpos"][:n_qpos])
    if not np.isfinite(qpos).all():
        raise ValueError("the WORLD record holds non-finite positions")
    return qpos
