"""A picture of the kit at given joints, as one sees it from the camera post, to compare the real arms with."""

from __future__ import annotations

from pathlib import Path

import mujoco  # type: ignore[import-untyped]
import numpy as np
from PIL import Image

from controller.cameras.base import CameraError
from controller.robots.base import GRIPPERS, Vector
from controller.sim import gl, kit, materials

AWAY = ((9.0, 9.0, 0.0, 1.0, 0.0, 0.0, 0.0), (8.0, 8.0, 0.0, 1.0, 0.0, 0.0, 0.0))
"""Lighter and cup: nobody knows where they lie."""


def draw(path: Path, q: Vector) -> None:
    """Write a PNG of both arms at q (rad, m). Raises CameraError where nothing can be drawn."""
    built = kit.build()
    model, data = built.model, mujoco.MjData(built.model)
    data.qpos[built.joint_qpos] = q
    data.qpos[built.mimic_qpos] = q[list(GRIPPERS)]
    data.qpos[built.environment_qpos] = np.concatenate(AWAY)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    used = gl.choose(gl.Gl.AUTO)
    context = gl.make_context(used, materials.WIDTH, materials.HEIGHT)
    try:
        Image.fromarray(_drawn(model, data)).save(path)
    except mujoco.FatalError as error:
        raise CameraError(f"OpenGL through {used.value} cannot draw: {error}") from error
    finally:
        context.free()


def _drawn(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """(height, width, 3) uint8 RGB. An OpenGL context is current."""
    renderer = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    try:
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, renderer)
        eye = mujoco.MjvCamera()
        eye.lookat[:] = (0.0, 0.0, 0.22)
        eye.distance, eye.azimuth, eye.elevation = 1.45, 0.0, -32.0
        scene = mujoco.MjvScene(model, maxgeom=200)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, mujoco.MjvOption(), mujoco.MjvPerturb(), eye, everything, scene)
        view = mujoco.MjrRect(0, 0, materials.WIDTH, materials.HEIGHT)
        pixels = np.empty((materials.HEIGHT, materials.WIDTH, 3), np.uint8)
        mujoco.mjr_render(view, scene, renderer)
        mujoco.mjr_readPixels(pixels, None, view, renderer)
        return pixels[::-1]  # OpenGL's rows begin at the bottom
    finally:
        renderer.free()
