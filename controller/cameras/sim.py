"""A camera of the simulated kit: draws the newest published world from its own copy of the model.

Run in a camera process, so physics and pictures never wait for each other. A frame's exposure is the instant of the
world it shows; the same world is never shown twice, so a dead simulation looks like a dead camera.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import mujoco  # type: ignore[import-untyped]
import numpy as np

from controller.cameras.base import Camera, CameraError, FrameInfo, Image
from controller.cameras.pace import Governor, Pacer
from controller.sim import gl as opengl
from controller.sim import kit, materials, world

POLL_S = 0.002
"""How often an overdue world is asked for again."""

log = logging.getLogger(__name__)


class SimCamera(Camera):
    """One of the kit's cameras (kit.CAMERAS), up to 640x480, at up to rate_hz.

    rate_hz falls, with a warning in the log, when drawing takes too much of a period (pace.Governor), and rises
    again later.
    """

    def __init__(
        self,
        name: str,
        width: int,
        height: int,
        rate_hz: float,
        world_reader: world.WorldReader,
        gl: opengl.Gl = opengl.Gl.AUTO,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if name not in kit.CAMERAS:
            raise CameraError(f"the simulated kit has no camera {name!r}; it has {', '.join(kit.CAMERAS)}")
        if not (0 < width <= materials.WIDTH and 0 < height <= materials.HEIGHT):
            raise CameraError(f"{name}: {width}x{height} is beyond {materials.WIDTH}x{materials.HEIGHT}")
        self._name = name
        self._view = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)
        self._reader = world_reader
        self._gl = gl
        self._clock = clock
        self._sleep = sleep
        self._governor = Governor(rate_hz)
        self._record = world.blank()
        self._shown = 0
        self._beat: int | None = None
        self._stage: _Stage | None = None
        self._pacer = Pacer(rate_hz, clock, sleep)

    @property
    def rate_hz(self) -> float:
        return self._governor.rate_hz

    def open(self) -> None:
        self._stage = _Stage(self._name, opengl.choose(self._gl))
        self._pacer.restart(self.rate_hz)

    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        if self._stage is None:
            raise CameraError(f"{self._name} is not open; call open() first")
        deadline_ns = self._clock() + round(timeout_s * 1e9)
        if self._beat is None:
            beat = self._pacer.wait(timeout_s)
            if beat is None:
                return None
            self._beat = beat[0]
        if not self._await_world(deadline_ns):
            return None
        started_ns = self._clock()
        self._draw(self._stage, out)
        arrival_ns = self._clock()
        number, self._beat = self._beat, None
        self._adapt((arrival_ns - started_ns) / 1e9)
        return FrameInfo(int(self._record["t_ns"]), arrival_ns, number, exposure_known=True)

    def close(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None

    def _await_world(self, deadline_ns: int) -> bool:
        while True:
            number = self._reader.newest(self._record)
            if number != self._shown:
                self._shown = number
                return True
            if self._clock() >= deadline_ns:
                return False
            self._sleep(POLL_S)

    def _draw(self, stage: _Stage, out: Image) -> None:
        try:
            stage.data.qpos[:] = world.read_qpos(self._record, stage.model.nq)
        except ValueError as error:
            raise CameraError(f"{self._name} cannot show this world: {error}") from error
        stage.draw(self._view, self._pixels)
        out[:] = self._pixels[::-1]  # OpenGL's rows begin at the bottom

    def _adapt(self, busy_s: float) -> None:
        before_hz = self.rate_hz
        if self._governor.note(busy_s):
            log.warning(
                "camera=%s event=rate from_hz=%g to_hz=%g drawing_ms=%.1f",
                self._name, before_hz, self.rate_hz, busy_s * 1e3,
            )  # fmt: skip
            self._pacer.restart(self.rate_hz)


class _Stage:
    """The model, a scene and an OpenGL context: everything `close` has to give back."""

    def __init__(self, camera: str, gl: opengl.Gl) -> None:
        self.model = kit.build().model
        self.data = mujoco.MjData(self.model)
        self._context = opengl.make_context(gl, materials.WIDTH, materials.HEIGHT)
        try:
            self._renderer = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except mujoco.FatalError as error:
            self._context.free()
            raise CameraError(f"OpenGL through {gl.value} cannot draw: {error}") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._scene = mujoco.MjvScene(self.model, maxgeom=200)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()
        self._eye = mujoco.MjvCamera()
        self._eye.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._eye.fixedcamid = self.model.camera(camera).id

    def draw(self, view: mujoco.MjrRect, pixels: Image) -> None:
        """Draw the world of `data.qpos` into `pixels`, bottom row first."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        mujoco.mjv_updateScene(
            self.model, self.data, self._options, self._perturb, self._eye, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(view, self._scene, self._renderer)
        mujoco.mjr_readPixels(pixels, None, view, self._renderer)

    def close(self) -> None:
        """Free the context and what it drew into."""
        self._renderer.free()
        self._context.free()
