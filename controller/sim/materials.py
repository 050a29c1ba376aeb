"""How the simulated kit looks and which of its parts may touch: colours, light, render quality, collision bits.

Pictures are made without shadows, reflections and multisampling: without a GPU they would cost most of the time.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Any

import mujoco  # type: ignore[import-untyped]

Rgba = tuple[float, float, float, float]

WIDTH, HEIGHT = 640, 480
"""Largest picture the model's off-screen buffer holds; the kit's cameras deliver this size."""


class Bits(IntFlag):
    """Collision classes; two geoms meet when one's contype shares a bit with the other's conaffinity."""

    TABLE = 1
    LEFT_ARM = 2
    RIGHT_ARM = 4
    OBJECT = 8


ARM_RGBA: dict[str, Rgba] = {
    "left": (0.22, 0.45, 0.72, 1.0),
    "right": (0.90, 0.50, 0.18, 1.0),
    "dark": (0.17, 0.18, 0.20, 1.0),
}


def dress(spec: Any) -> None:
    """Give the model its light, its materials and its render quality."""
    quality = spec.visual.quality
    quality.offsamples = 0
    quality.shadowsize = 0
    offscreen = getattr(spec.visual, "global_")  # noqa: B009  the trailing underscore is MuJoCo's
    offscreen.offwidth, offscreen.offheight = WIDTH, HEIGHT
    spec.visual.map.znear = 0.005
    spec.visual.headlight.ambient = (0.38, 0.38, 0.38)
    spec.visual.headlight.diffuse = (0.25, 0.25, 0.25)
    spec.visual.headlight.specular = (0.05, 0.05, 0.05)
    spec.stat.extent = 2.0
    spec.stat.center = (0, 0, 0.2)
    for direction, strength in (((0.5, 0.35, -1.0), 0.45), ((-0.4, -0.6, -0.8), 0.25)):
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            dir=direction,
            diffuse=(strength,) * 3,
            specular=(0.1, 0.1, 0.1),
            castshadow=False,
        )
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.86, 0.90, 0.94), rgb2=(0.55, 0.62, 0.70), width=64, height=384,
    )  # fmt: skip
    for name, rgba in (
        ("table", (0.80, 0.77, 0.71, 1.0)),
        ("floor", (0.42, 0.44, 0.46, 1.0)),
        ("frame", (0.60, 0.62, 0.65, 1.0)),
    ):
        spec.add_material(name=name, rgba=rgba, specular=0.1, reflectance=0.0)
