"""A robot configuration as LeRobot writes it -> our TOML for the same kit, driven natively. Pure.

Everything that the file does not say stays as in the shipped trossen_stationary.toml. Nothing is dropped in silence:
what has no counterpart here is one of `Translation.remarks`, which are comments of the TOML, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.config_camera import CAMERA_NAMES

KIT_TYPES = ("bi_widowxai_follower", "bi_widowxai_follower_robot")

PLAIN = {
    "id": "a name for calibration files, which these arms do not have",
    "calibration_dir": "these arms have no calibration files",
    "include_velocity": "velocities are always read",
    "include_effort": "efforts are always read",
    "include_external_effort": "external efforts are always read",
    "loop_rate": "the arms are fed at robot.rate_hz; if the policy learnt at this rate, set policy.action_rate_hz",
    "min_time_to_move_multiplier": "each command's time is one period of robot.rate_hz, with feed-forward velocity",
    "left_arm_max_relative_target": "robot.limits bounds position, velocity, acceleration and distance in every tick",
    "right_arm_max_relative_target": "robot.limits bounds position, velocity, acceleration and distance in every tick",
    "joint_names": "the arms' joints have fixed names here",
    "staged_positions": "homing goes to robot.homing.pose, at its own limits",
}
"""Keys of the robot that are left out, and why that is right."""

ADDRESSES = {"left_arm_ip_address": "left_ip", "right_arm_ip_address": "right_ip"}

SIZES = {"width": "width", "height": "height", "fps": "rate_hz"}
CAMERA_PLAIN = {
    "color_mode": "pictures are always RGB; a policy that learnt from BGR needs its data looked at",
    "warmup_s": "a camera is used when it delivers",
    "backend": "cameras of kind v4l2 are opened by path",
    "use_rgb": "only the colour stream is read",
    "use_depth": "only the colour stream is read",
    "white_balance": "not a setting of the cameras here",
}
FOURCC = {"MJPG": "mjpeg", "YUYV": "yuyv"}
NO_ROTATION = (0, None, "NO_ROTATION", "0")


class Untranslatable(ValueError):
    """The file is no configuration of this kit's robot. The message says what it is, and what to do."""


@dataclass(slots=True)
class Translation:
    """toml: the text of our configuration. remarks: one line each about a key of the file that a person should know."""

    toml: str = ""
    remarks: list[str] = field(default_factory=list)

    def leave(self, key: str, value: Any, why: str) -> None:
        self.remarks.append(f"{' '.join(key.split())} = {json.dumps(value, default=str)} is not carried over: {why}")

    def leave_others(self, prefix: str, table: Mapping[str, Any], done: Iterable[str], why: Mapping[str, str]) -> None:
        """Of a table, whatever was not looked at and has a value."""
        for key in table.keys() - set(done):
            if table[key] is not None:  # nothing is lost
                self.leave(prefix + key, table[key], why.get(key, "not known to the controller"))


def translate(document: Any, source: str, shipped: str) -> Translation:
    """document: the parsed file. source: its name, for the comments. shipped: the text of trossen_stationary.toml.

    Raises Untranslatable.
    """
    robot, prefix = _robot(document)
    kind = robot.get("type")
    if kind not in KIT_TYPES:
        raise Untranslatable(
            f"the robot's type is {kind!r}, not {' or '.join(KIT_TYPES)}; drive it with robot.kind = 'lerobot' and a "
            f"table [robot.lerobot] with type = {kind!r} and its settings as config (docs/lerobot.md)"
        )
    made = Translation()
    text = shipped
    for theirs, ours in ADDRESSES.items():
        address = robot.get(theirs)
        if not isinstance(address, str):
            raise Untranslatable(f"{prefix}{theirs} is {address!r}; it must be the arm's address")
        text = _replace_line(text, ours, f"{ours} = {json.dumps(address)}  # {prefix}{theirs}")
    made.leave_others(prefix, robot, {*ADDRESSES, "type", "cameras"}, PLAIN)
    cameras = _table(robot.get("cameras") or {}, f"{prefix}cameras")
    tables, names = _cameras(cameras, f"{prefix}cameras.", made)
    if names:
        text = _replace_cameras(text, tables)
        if set(names) != set(CAMERA_NAMES):
            text = text.replace("[policy]\n", f"[policy]\ncameras = {json.dumps(names)}  # those of the file\n", 1)
    else:
        made.remarks.append(f"{prefix}cameras has none that fits: the four below are the shipped example's")
    text = _rate(document, text)
    made.remarks.sort()
    made.toml = "\n".join([*_head(source, kind, made.remarks), text])
    return made


def _robot(document: Any) -> tuple[Mapping[str, Any], str]:
    """The robot's table and where it stands: the whole file, or the `robot` of a recording's or training's."""
    document = _table(document, "the file")
    if isinstance(document.get("robot"), Mapping):
        return _table(document["robot"], "robot"), "robot."
    if "type" in document:
        return document, ""
    raise Untranslatable("the file has neither a robot's type nor a table `robot`; its keys are " + ", ".join(document))


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Untranslatable(f"{what} is {json.dumps(value, default=str)[:80]}, no table of settings")
    if strange := [key for key in value if not isinstance(key, str)]:
        raise Untranslatable(f"{what} has a key that is no word: {strange[0]!r}")
    return value


def _head(source: str, kind: str, remarks: list[str]) -> Iterator[str]:
    yield f"# Made by `pi0-controller import-lerobot` from {source}, a robot of type {kind}."
    yield "# Lines that end in a key of that file have their value from it; all others are as shipped."
    if remarks:
        yield "# Of that file:"
        yield from (f"#   {line}" for line in remarks)
    yield ""


def _replace_line(text: str, key: str, line: str) -> str:
    made, count = re.subn(rf"(?m)^{key} = .*$", lambda _: line, text)
    assert count == 1, key  # a test holds it against the shipped file
    return made


def _replace_cameras(text: str, tables: list[str]) -> str:
    """Ours in place of the shipped file's [cameras.*] tables."""
    parts = re.split(r"(?m)^(?=\[)", text)
    first = next(i for i, part in enumerate(parts) if part.startswith("[cameras."))
    others = [part for part in parts if not part.startswith("[cameras.")]
    return "".join([*others[:first], *tables, "\n", *others[first:]])


def _rate(document: Mapping[str, Any], text: str) -> str:
    """The rate of the data set that the file records, which a policy trained on it has."""
    dataset = document.get("dataset")
    fps = dataset.get("fps") if isinstance(dataset, Mapping) else None
    if isinstance(fps, bool) or not isinstance(fps, int | float):
        return text
    return text.replace("[policy]\n", f"[policy]\naction_rate_hz = {float(fps)}  # dataset.fps\n", 1)


def _cameras(cameras: Mapping[str, Any], prefix: str, made: Translation) -> tuple[list[str], list[str]]:
    """The tables of all cameras that can be carried over, and their names."""
    tables, names = [], []
    for name, settings in cameras.items():
        camera = _table(settings, prefix + name)
        if name not in CAMERA_NAMES:
            made.leave(prefix + name, camera.get("type"), f"cameras here are called {', '.join(CAMERA_NAMES)}")
        elif lines := _camera(camera, f"{prefix}{name}.", made):
            tables.append("\n".join([f"[cameras.{name}]", *lines, ""]))
            names.append(name)
    return tables, names


def _camera(camera: Mapping[str, Any], prefix: str, made: Translation) -> list[str]:
    """The lines of one camera's table; none if it cannot be carried over."""
    kind = camera.get("type")
    if kind == "intelrealsense":
        lines = _realsense(camera, prefix, made)
    elif kind == "opencv":
        lines = _opencv(camera, prefix, made)
    else:
        made.leave(prefix + "type", kind, "use kind = 'lerobot' for it (docs/lerobot.md)")
        return []
    if not lines:
        return []
    if camera.get("rotation") not in NO_ROTATION:
        made.leave(prefix + "rotation", camera["rotation"], "pictures are not turned here, so it would see another")
        return []
    for theirs, ours in SIZES.items():
        if camera.get(theirs) is not None:
            lines.append(f"{ours} = {json.dumps(camera[theirs])}  # {prefix}{theirs}")
    done = {"type", "serial_number_or_name", "index_or_path", "fourcc", "rotation", *SIZES}
    made.leave_others(prefix, camera, done, CAMERA_PLAIN)
    return lines


def _realsense(camera: Mapping[str, Any], prefix: str, made: Translation) -> list[str]:
    serial = str(camera.get("serial_number_or_name", ""))
    if not serial.isdigit():
        why = "a camera is known by its serial number here; rs-enumerate-devices -s prints it"
        made.leave(f"{prefix}serial_number_or_name", serial, why)
        return []
    return ['kind = "realsense"', f"serial = {json.dumps(serial)}  # {prefix}serial_number_or_name"]


def _opencv(camera: Mapping[str, Any], prefix: str, made: Translation) -> list[str]:
    where = camera.get("index_or_path")
    if str(where).isdigit():
        device = f"/dev/video{where}"
        made.remarks.append(
            f"{prefix}index_or_path = {where} is {device}, which may be another camera tomorrow; "
            "take its path in /dev/v4l/by-id"
        )
    elif isinstance(where, str) and where.startswith("/dev/"):
        device = where
    else:
        made.leave(f"{prefix}index_or_path", where, "neither a number nor a path of /dev")
        return []
    lines = ['kind = "v4l2"', f"device = {json.dumps(device)}  # {prefix}index_or_path"]
    if (fourcc := camera.get("fourcc")) in FOURCC:
        lines.append(f"pixel_format = {json.dumps(FOURCC[fourcc])}  # {prefix}fourcc")
    elif fourcc is not None:
        made.leave(f"{prefix}fourcc", fourcc, f"formats here are {', '.join(FOURCC)}")
    return lines
