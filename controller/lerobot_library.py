"""LeRobot as it is installed, from 0.3.2 on: the one place that imports it, in the process of one device.

Its import is heavy (a robot's brings PyTorch along) and may rearrange logging, which is put back. Plug-ins are found by
their distribution's name, as LeRobot itself does since 0.4.3.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any

log = logging.getLogger(__name__)


class LerobotError(RuntimeError):
    """LeRobot cannot be loaded, does not know the type, or refuses the type's configuration."""


def make_robot(kind: str, config: Mapping[str, Any]) -> Any:
    """A LeRobot robot, not connected; one that is never disconnected by the garbage collector. Raises LerobotError."""
    with _loading():
        from lerobot.robots.config import RobotConfig
        from lerobot.robots.robot import Robot
        from lerobot.robots.utils import make_robot_from_config

        if "__del__" in vars(Robot):  # since 0.4 it calls disconnect(), and that may move the arms
            del Robot.__del__
        decoded = _decode(RobotConfig, "lerobot.robots", "lerobot_robot_", kind, config)
        plugin = _plugin(Robot, decoded)
        return plugin(decoded) if plugin else make_robot_from_config(decoded)


def finalizers(robot: Any) -> list[str]:
    """Classes of the robot and of its parts that do something of their own when they are thrown away."""
    from lerobot.robots.robot import Robot

    parts = [robot, *(part for part in vars(robot).values() if isinstance(part, Robot))]
    return sorted({cls.__name__ for part in parts for cls in type(part).__mro__ if "__del__" in vars(cls)})


def make_camera(kind: str, config: Mapping[str, Any]) -> Any:
    """A LeRobot camera, not connected. Raises LerobotError."""
    with _loading():
        from lerobot.cameras.camera import Camera
        from lerobot.cameras.configs import CameraConfig
        from lerobot.cameras.utils import make_cameras_from_configs

        decoded = _decode(CameraConfig, "lerobot.cameras", "lerobot_camera_", kind, config)
        plugin = _plugin(Camera, decoded)
        return plugin(decoded) if plugin else make_cameras_from_configs({kind: decoded})[kind]


@contextmanager
def _loading() -> Iterator[None]:
    """Whatever goes wrong inside is a LerobotError; the root logger stays as it is."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    except LerobotError:
        raise
    except Exception as error:  # whatever an SDK, a plug-in or a decoder thinks fit
        raise LerobotError(f"{type(error).__name__}: {error}") from error
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _decode(base: Any, package: str, prefix: str, kind: str, config: Mapping[str, Any]) -> Any:
    import draccus

    unloadable = _register(base, package, prefix, kind)
    known = sorted(base.get_known_choices())
    if kind not in known:
        broken = "".join(f"; {name} cannot be loaded: {why}" for name, why in unloadable.items())
        raise LerobotError(f"type {kind!r} is not known to LeRobot here; known: {', '.join(known)}{broken}")
    return draccus.decode(base, {"type": kind, **config})


def _register(base: Any, package: str, prefix: str, kind: str) -> dict[str, str]:
    """Import plug-ins, then LeRobot's modules, until the type is registered; what should have loaded and did not."""
    names = [d.name.replace("-", "_") for d in metadata.distributions() if d.name]
    plugins = sorted({name for name in names if name.startswith(prefix)})
    own = [f"{package}.{module.name}" for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    unloadable = {}
    for name in (*plugins, *sorted(own, key=lambda name: kind not in name)):
        if kind in base.get_known_choices():
            break
        try:
            importlib.import_module(name)
        except Exception as error:  # of LeRobot's own, each wants another SDK
            if name in plugins or kind in name:
                unloadable[name] = f"{type(error).__name__}: {error}"
    return unloadable


def _plugin(base: Any, config: Any) -> Any:
    """The class that goes with a configuration's, if it is loaded: LeRobot's own makers know no plug-ins before 0.4."""
    name = type(config).__name__.removesuffix("Config")
    return next((cls for cls in _descendants(base) if cls.__name__ == name), None)


def _descendants(cls: Any) -> Iterator[Any]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)
