"""Lighter and cup as MuJoCo bodies. Sizes and positions come from `task`."""

from __future__ import annotations

import math
from typing import Any

import mujoco  # type: ignore[import-untyped]

from controller.sim.materials import Bits
from controller.sim.task import (
    CUP_HEIGHT_M,
    CUP_INNER_RADIUS_M,
    CUP_KG,
    CUP_WALL_M,
    CUP_WALLS,
    LIGHTER_HALF_M,
    LIGHTER_KG,
)


def add_objects(spec: Any) -> None:
    """Put both objects into the model, at the origin; `layout` says where they go."""
    _add_lighter(spec)
    _add_cup(spec)


def _add_lighter(spec: Any) -> None:
    body = spec.worldbody.add_body(name="lighter")
    body.add_joint(name="lighter_free", type=mujoco.mjtJoint.mjJNT_FREE)
    body.add_geom(
        name="lighter", type=mujoco.mjtGeom.mjGEOM_BOX, size=LIGHTER_HALF_M, mass=LIGHTER_KG,
        rgba=(0.85, 0.10, 0.14, 1), **_touch(),
    )  # fmt: skip
    half = LIGHTER_HALF_M
    body.add_geom(  # its metal cap, a hair larger so that it covers the body's end
        type=mujoco.mjtGeom.mjGEOM_BOX, pos=(half[0] - 0.008, 0, 0),
        size=(0.0085, half[1] + 5e-4, half[2] + 5e-4),
        rgba=(0.75, 0.76, 0.78, 1), contype=0, conaffinity=0, mass=0,
    )  # fmt: skip


def _add_cup(spec: Any) -> None:
    """A twelve-sided cup of wall boxes: hollow, and each piece convex."""
    body = spec.worldbody.add_body(name="cup")
    body.add_joint(name="cup_free", type=mujoco.mjtJoint.mjJNT_FREE)
    middle = CUP_INNER_RADIUS_M + CUP_WALL_M / 2
    outer = CUP_INNER_RADIUS_M + CUP_WALL_M
    body.add_geom(
        name="cup_floor", type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=(0, 0, 0.004), size=(outer, 0.004, 0),
        mass=CUP_KG / 2, rgba=(0.16, 0.55, 0.47, 1), **_touch(),
    )  # fmt: skip
    for index in range(CUP_WALLS):
        angle = 2 * math.pi * index / CUP_WALLS
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(middle * math.cos(angle), middle * math.sin(angle), CUP_HEIGHT_M / 2 + 0.002),
            quat=(math.cos(angle / 2), 0, 0, math.sin(angle / 2)),
            size=(CUP_WALL_M / 2, outer * math.tan(math.pi / CUP_WALLS), CUP_HEIGHT_M / 2 - 0.002),
            mass=CUP_KG / 2 / CUP_WALLS, rgba=(0.20, 0.66, 0.56, 1), **_touch(),
        )  # fmt: skip


def _touch() -> dict[str, Any]:
    return {
        "contype": int(Bits.OBJECT),
        "conaffinity": int(Bits.TABLE | Bits.OBJECT),
        "condim": 4,
        "friction": (0.8, 0.01, 0.0005),
        "solref": (0.01, 1.0),
    }
