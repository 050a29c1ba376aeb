"""What a new configuration changes in a running daemon, and who must begin anew for it. Pure.

Only what bounds no motion may change while a daemon lives: limits, clearances, clocks and the layout of shared memory
are those that it was started with. A key that is not in the table needs a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from controller.board import camera_process
from controller.config import Config

CAMERA = "its camera"

TABLE: dict[str, tuple[str, ...] | None] = {
    "daemon.log_level": (),
    "policy.image_size": None,  # the size of the tiles in shared memory
    "policy.*": ("link", "recorder"),
    "control.seam": ("recorder",),
    "control.blend_s": ("control", "guard", "recorder"),
    "control.blend_max_s": ("control", "guard", "recorder"),
    "control.blend_acceleration": ("control", "guard", "recorder"),
    "control.ensemble_decay": ("control", "guard", "recorder"),
    "control.speed_ramp_s": ("control", "guard", "link", "recorder"),
    "cameras.*.dark_level": (CAMERA, "recorder"),
    "cameras.*.exposure_us": (CAMERA, "recorder"),
    "cameras.*.gain": (CAMERA, "recorder"),
    "cameras.*.patience_frames": ("recorder",),
    "cameras.*.max_age_s": ("link", "recorder"),
    "recorder.*": ("recorder",),
}
"""Pattern of a key -> processes that read it when they begin; None: only a restart of the daemon changes it. The first
pattern that fits counts. The recorder writes the configuration down with each motion."""


@dataclass(frozen=True, slots=True)
class Changes:
    """changed: `key: old -> new`. refused: those of them that need a restart. begin_anew: names of processes."""

    changed: tuple[str, ...]
    refused: tuple[str, ...]
    begin_anew: frozenset[str]


def changes(old: Config, new: Config) -> Changes:
    """What it takes to get from one to the other."""
    changed, refused, names = [], [], set[str]()
    for key, before, after in _differences("", old.model_dump(), new.model_dump()):
        text = f"{key}: {before!r} -> {after!r}"
        changed.append(text)
        processes = next((who for pattern, who in TABLE.items() if fnmatchcase(key, pattern)), None)
        if processes is None:
            refused.append(text)
        else:
            names |= {camera_process(key.split(".")[1]) if name is CAMERA else name for name in processes}
    if not new.guard.enabled:
        names.discard("guard")
    return Changes(tuple(changed), tuple(refused), frozenset(names))


def _differences(prefix: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield prefix, old, new
        return
    for name in dict.fromkeys([*old, *new]):
        key = f"{prefix}.{name}" if prefix else str(name)
        if name in old and name in new:
            yield from _differences(key, old[name], new[name])
        else:
            yield key, "there" if name in old else "none", "there" if name in new else "none"
