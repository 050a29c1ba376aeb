"""Which OpenGL draws the simulated cameras: the GPU's through EGL where there is one, else Mesa in software.

MuJoCo reads the choice from the environment variable MUJOCO_GL, so `select` runs before a context is made.
"""

from __future__ import annotations

import ctypes
import glob
import os
from collections.abc import Callable
from ctypes.util import find_library
from enum import Enum
from importlib import import_module
from typing import Any

from controller.cameras.base import CameraError


class Gl(Enum):
    """How pictures are drawn; AUTO looks at the machine."""

    AUTO = "auto"
    EGL = "egl"
    OSMESA = "osmesa"


_INSTALL = {
    Gl.OSMESA: "install libosmesa6",
    Gl.EGL: "install libegl1, libopengl0 and libgl1-mesa-dri, or the GPU's driver with its EGL library",
}


def has_gpu() -> bool:
    """True when this machine has a render node or an NVIDIA device."""
    return bool(glob.glob("/dev/dri/renderD*") or os.path.exists("/dev/nvidia0"))


def choose(wanted: Gl, gpu: Callable[[], bool] = has_gpu, library: Callable[[str], str | None] = find_library) -> Gl:
    """EGL or OSMESA. Raises CameraError, naming the package to install, when what is needed is not there."""
    if wanted is Gl.AUTO:
        wanted = Gl.OSMESA if not gpu() and library("OSMesa") else Gl.EGL
    name = "OSMesa" if wanted is Gl.OSMESA else "EGL"
    if library(name) is None:
        raise CameraError(f"simulated cameras need lib{name}: {_INSTALL[wanted]}")
    return wanted


def make_context(gl: Gl, width: int, height: int) -> Any:
    """A current off-screen OpenGL context, to be freed with its `free()`. Raises CameraError.

    One process uses one kind of context in its life; MuJoCo and PyOpenGL remember the first.
    """
    os.environ["MUJOCO_GL"] = gl.value
    # Mesa's software renderer starts threads of its own; cameras are processes of their own already.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        context = import_module(f"mujoco.{gl.value}").GLContext(width, height)
        context.make_current()
    except (ImportError, AttributeError, RuntimeError, ctypes.ArgumentError) as error:
        raise CameraError(f"no OpenGL through {gl.value}: {error}; {_INSTALL[gl]}") from error
    return context
