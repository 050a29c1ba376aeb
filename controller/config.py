"""The one configuration file: TOML, validated whole before anything starts. Read by every process.

Unknown keys, wrong types and impossible values are refused with file, key, value and bound; nothing is
replaced by a default in silence. Lengths of seven are one arm in the order joint_0..joint_5, gripper; both
arms share them.
"""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from controller.robots.base import ARM_JOINTS, Vector
from controller.run_options import Seam

CAMERA_NAMES = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")

# The firmware's own limits of a WidowX AI (rad, m; rad/s, m/s): ours must lie inside them.
FIRMWARE_LOWER = (-math.pi, 0.0, 0.0, -math.pi / 2, -math.pi / 2, -math.pi, 0.0)
FIRMWARE_UPPER = (math.pi, math.pi, 0.75 * math.pi, math.pi / 2, math.pi / 2, math.pi, 0.044)
FIRMWARE_VELOCITY = (2 * math.pi, 2 * math.pi, 2 * math.pi, 3 * math.pi, 3 * math.pi, 3 * math.pi, 0.25)


class ConfigError(ValueError):
    """The configuration cannot be used. The text has one line per fault: file, key, value, bound."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Finite = float
Positive = Annotated[float, Field(gt=0)]
Arm = Annotated[tuple[Finite, ...], Field(min_length=7, max_length=7, strict=False)]
Point = Annotated[tuple[Finite, ...], Field(min_length=3, max_length=3, strict=False)]
PositiveArm = Annotated[tuple[Positive, ...], Field(min_length=7, max_length=7, strict=False)]


def both_arms(values: tuple[float, ...]) -> Vector:
    """Seven values of one arm -> the fourteen of both."""
    return np.array(values + values, dtype=np.float64)


def _inside(name: str, values: tuple[float, ...], lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
    for joint, value, low, high in zip(ARM_JOINTS, values, lower, upper, strict=True):
        if not low <= value <= high:
            raise ValueError(f"{name} of {joint} = {value} lies outside {low:.4f}..{high:.4f}")


class MoveLimits(_Section):
    """Velocity, acceleration and jerk of a move that we generate ourselves."""

    velocity: PositiveArm
    acceleration: PositiveArm
    jerk: PositiveArm

    def within(self, name: str, limits: Limits) -> None:
        """Raises ValueError where the move would be faster than the robot's own limits allow."""
        _inside(f"{name}.velocity", self.velocity, (0.0,) * 7, limits.velocity)
        _inside(f"{name}.acceleration", self.acceleration, (0.0,) * 7, limits.acceleration)


class Limits(_Section):
    """What no command may exceed: control shapes motion to fit, the motor process refuses what does not."""

    lower: Arm
    upper: Arm
    velocity: PositiveArm
    acceleration: PositiveArm
    tracking: PositiveArm
    """Largest distance between command and measurement."""
    overshoot: PositiveArm
    """An action this far outside lower..upper is clamped to it; farther, and its whole chunk is refused."""
    contact: PositiveArm | None = None
    """Largest external effort (N m, grippers N) while moving, of drivers that report it; none: not watched."""
    contact_s: Positive = 0.03
    """How long it must be exceeded."""
    brake: MoveLimits

    @model_validator(mode="after")
    def _ordered(self) -> Limits:
        for joint, low, high in zip(ARM_JOINTS, self.lower, self.upper, strict=True):
            if low >= high:
                raise ValueError(f"limits of {joint} are reversed: lower {low} >= upper {high}")
        _inside("lower", self.lower, FIRMWARE_LOWER, FIRMWARE_UPPER)
        _inside("upper", self.upper, FIRMWARE_LOWER, FIRMWARE_UPPER)
        _inside("velocity", self.velocity, (0.0,) * 7, FIRMWARE_VELOCITY)
        return self


class Homing(MoveLimits):
    """The jerk-limited move to the home pose."""

    pose: Arm
    tolerance: PositiveArm
    """Measured joints this near the pose count as arrived."""
    settle_s: Positive = 3.0
    """Time after the end of the move within which the joints must arrive."""


class Robot(_Section):
    kind: Literal["sim", "trossen"]
    rate_hz: Annotated[float, Field(ge=50, le=1000)] = 200.0
    limits: Limits
    homing: Homing
    park: Arm | None = None
    """Pose to drive to at an ordered shutdown from a homed idle; none: hold where the arms are."""
    seed: Annotated[int, Field(ge=0)] = 0
    """sim: the layout of lighter and cup."""
    velocity_feedforward: bool = True
    left_ip: str | None = None
    right_ip: str | None = None

    @model_validator(mode="after")
    def _poses(self) -> Robot:
        _inside("homing.pose", self.homing.pose, self.limits.lower, self.limits.upper)
        self.homing.within("homing", self.limits)
        if self.park is not None:
            _inside("park", self.park, self.limits.lower, self.limits.upper)
        if self.kind == "trossen" and not (self.left_ip and self.right_ip):
            raise ValueError("kind = 'trossen' needs left_ip and right_ip")
        return self


class Camera(_Section):
    kind: Literal["sim", "pattern", "realsense"]
    width: Annotated[int, Field(ge=16, le=4096)] = 640
    height: Annotated[int, Field(ge=16, le=4096)] = 480
    rate_hz: Annotated[float, Field(gt=0, le=120)] = 30.0
    serial: str | None = None
    max_age_s: Positive = 0.5
    """A run faults when the newest frame is older than this."""
    dark_level: Annotated[float, Field(ge=0, le=255)] = 8.0
    """A picture whose mean brightness is below this, of 255, is dark; 0: none is."""
    patience_frames: Annotated[int, Field(ge=2, le=1000)] = 10
    """A run faults after so many dark frames in a row, or so many of one picture while the arms moved."""

    @model_validator(mode="after")
    def _serial(self) -> Camera:
        if self.kind == "realsense" and not self.serial:
            raise ValueError("kind = 'realsense' needs the camera's serial number")
        return self


class Control(_Section):
    rate_hz: Annotated[float, Field(ge=10, le=500)] = 50.0
    seam: Literal["switch", "blend", "ensemble", "rtc"] = "blend"
    """How motion gets from one chunk to the next, unless a run chooses otherwise."""
    blend_s: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Shortest time in which the distance of a new chunk from the plan before is faded out, in the policy's time."""
    blend_max_s: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Longest one."""
    blend_acceleration: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Part of robot.limits.acceleration that this may take in the arms: where chunks are farther apart it lasts longer.
    Grippers may take all of theirs."""
    ensemble_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """ensemble: the n-th oldest chunk weighs exp(-n * this)."""
    speed_ramp_s: Annotated[float, Field(ge=0.1, le=5)] = 0.4
    """Time in which the speed of a run changes from one value to another, and rises at its start."""
    command_s: Annotated[float, Field(ge=0.04, le=0.5)] = 0.08
    """Length of a piece of motion: missed control ticks shorter than this are bridged, a longer gap makes the
    motor process brake."""
    ramp: MoveLimits
    """Limits of the move from where the arms are to the first action of a run."""

    @property
    def seam_method(self) -> Seam:
        return Seam[self.seam.upper()]


class Policy(_Section):
    url: str = "ws://127.0.0.1:8000"
    api_key_file: str | None = None
    """One line, the key that the server asks for; readable by the daemon's user only."""
    tls_ca_file: str | None = None
    """PEM, by which a wss:// server is known; without it by this machine's certificate authorities."""
    cameras: Annotated[tuple[str, ...], Field(strict=False)] = CAMERA_NAMES
    """Sent when the server's metadata does not say which it wants (a stock openpi server)."""
    action_rate_hz: Positive = 50.0
    """Rate of the data set the policy was trained on, when the server does not say it."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    image_encoding: Literal["raw", "jpeg"] = "raw"
    """jpeg: for a slow link; pictures lose a little, and only a server that offers jpeg_images takes them."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    connect_timeout_s: Positive = 5.0
    request_timeout_s: Positive = 5.0
    first_answer_timeout_s: Positive = 60.0
    """Also for the metadata: a server may let its clients wait until it has compiled its model."""
    execution_horizon: Annotated[int, Field(ge=0, le=127)] = 0
    """The next request leaves once so many steps of the newest chunk are past; 0: as soon as the last answer came."""
    delay_quantile: Annotated[float, Field(ge=0.5, le=1.0)] = 0.95
    """rtc: the delay that is expected of an answer, as a quantile of the recent ones."""
    max_observation_spread_s: Positive = 0.25
    """Largest difference between the exposures in one observation."""

    @field_validator("url")
    @classmethod
    def _websocket(cls, url: str) -> str:
        if not url.startswith(("ws://", "wss://")):
            raise ValueError("must start with ws:// or wss://")
        return url

    @model_validator(mode="after")
    def _an_authority_needs_tls(self) -> Policy:
        if self.tls_ca_file is not None and not self.url.startswith("wss://"):
            raise ValueError(f"tls_ca_file is {self.tls_ca_file!r}, and url {self.url!r} is not wss://")
        return self


class Guard(_Section):
    """The collision guard: looks ahead along the plan for collisions, on the kit's kinematic model."""

    enabled: bool = True
    horizon_s: Annotated[float, Field(ge=0.2, le=2.0)] = 0.5
    lag_s: Annotated[float, Field(ge=0.1, le=1.0)] = 0.3
    """A motion whose plan has not been looked at for so long faults. What is left of the horizon is for braking."""
    arm_clearance_m: Annotated[float, Field(ge=0, le=0.09)] = 0.015
    """Least distance of one arm from the other."""
    table_clearance_m: Annotated[float, Field(ge=-0.02, le=0.09)] = 0.01
    """Of an arm from table and frame."""
    finger_table_clearance_m: Annotated[float, Field(ge=-0.02, le=0.09)] = -0.003
    """Of the fingers from the table plate: below 0, they may be commanded so far into it."""
    workspace_lower: Point = (-0.40, -0.80, 0.0)
    workspace_upper: Point = (0.60, 0.80, 0.85)
    """Corners of the box (x, y, z in m) that no link's origin and no tool point may leave: origin under the middle of
    the table plate, x away from the operator's camera post, y left, z up."""

    @model_validator(mode="after")
    def _ordered(self) -> Guard:
        for axis, low, high in zip("xyz", self.workspace_lower, self.workspace_upper, strict=True):
            if low >= high:
                raise ValueError(f"workspace is reversed: {axis} from {low} to {high}")
        if self.lag_s >= self.horizon_s:
            raise ValueError(f"lag_s = {self.lag_s} must be below horizon_s = {self.horizon_s}")
        return self


class Recorder(_Section):
    enabled: bool = True
    """False: motions are not recorded; the seconds before a fault are kept all the same."""
    directory: str = "runs/recordings"
    """A relative path starts at the daemon's working directory."""
    video_rate_hz: Annotated[float, Field(ge=0, le=60)] = 10.0
    """0: no video."""
    kept_faults: Annotated[int, Field(ge=1)] = 100
    """Dumps of faults kept in its folder `faults`; older ones are removed."""


class Daemon(_Section):
    socket: str | None = None
    group: str | None = None
    """Members of this group may command; none: the daemon's own user only."""
    lease_s: Annotated[float, Field(ge=0.03, le=1.0)] = 0.1
    """Motion ends this long after the supervisor last said that it may go on."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Realtime(_Section):
    required: bool = False
    """True: a real-time right that is not granted ends the daemon; False: it is said and motion goes on."""
    supervisor_priority: Annotated[int, Field(ge=0, le=80)] = 10
    control_priority: Annotated[int, Field(ge=0, le=80)] = 20
    motor_priority: Annotated[int, Field(ge=0, le=80)] = 30
    """SCHED_FIFO; 0: ordinary scheduling. The supervisor's is the lowest: its lease shall end when it hangs,
    not when cameras keep all cores busy."""
    lock_memory: bool = True
    cpu_dma_latency: bool = True
    """Hold /dev/cpu_dma_latency at 0: the largest single knob on an idle machine."""
    control_cpu: Annotated[int, Field(ge=0)] | None = None
    motor_cpu: Annotated[int, Field(ge=0)] | None = None


class Config(_Section):
    """The whole file."""

    robot: Robot
    cameras: dict[str, Camera]
    control: Control
    policy: Policy = Policy()
    guard: Guard = Guard()
    recorder: Recorder = Recorder()
    daemon: Daemon = Daemon()
    realtime: Realtime = Realtime()

    @field_validator("cameras")
    @classmethod
    def _known_cameras(cls, cameras: dict[str, Camera]) -> dict[str, Camera]:
        for name in cameras:
            if name not in CAMERA_NAMES:
                raise ValueError(f"camera {name!r} is none of {', '.join(CAMERA_NAMES)}")
        return cameras

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not self.policy.cameras or len(set(self.policy.cameras)) < len(self.policy.cameras):
            raise ValueError(f"policy.cameras = {list(self.policy.cameras)}: name one camera or more, each once")
        for name in self.policy.cameras:
            if name not in self.cameras:
                known = ", ".join(self.cameras) or "none"
                raise ValueError(f"policy.cameras names {name!r}; configured cameras: {known}")
        if self.robot.rate_hz < self.control.rate_hz:
            raise ValueError(
                f"robot.rate_hz = {self.robot.rate_hz} is below control.rate_hz = {self.control.rate_hz}"
            )
        self.control.ramp.within("control.ramp", self.robot.limits)
        if self.control.blend_max_s < self.control.blend_s:
            raise ValueError(
                f"control.blend_max_s = {self.control.blend_max_s} is below blend_s = {self.control.blend_s}"
            )
        if self.control.command_s * self.control.rate_hz < 2.0:
            raise ValueError(
                f"control.command_s = {self.control.command_s} is shorter than two ticks at {self.control.rate_hz} Hz"
            )
        for name, camera in self.cameras.items():
            if camera.kind == "sim" and self.robot.kind != "sim":
                raise ValueError(f"cameras.{name}.kind = 'sim' needs robot.kind = 'sim'")
        return self


def _key(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


LENGTH = ("too_short", "too_long")


def _told(errors: list[Any]) -> list[Any]:
    """Without the remark that a vector lacks the very value that another error is about."""
    inner = {error["loc"][:-1] for error in errors}
    return [error for error in errors if error["type"] not in LENGTH or error["loc"] not in inner]


def _line(path: str, error: Any) -> str:
    key, value, message = _key(error["loc"]), error["input"], error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{path}: {key}: unknown key; remove it or correct its spelling"
    if error["type"] == "missing":
        return f"{path}: {key}: missing"
    if error["type"] in LENGTH:
        wanted = "3: x, y, z" if key.startswith("guard.") else "7: joint_0..joint_5, gripper"
        return f"{path}: {key}: has {len(value)} values, must have {wanted}"
    if error["type"] == "model_type":
        return f"{path}: {key} = {value!r}: must be a table"
    where = f"{path}: {key}" if key else path
    if isinstance(value, dict | list | BaseModel):
        return f"{where}: {message}"
    return f"{where} = {value!r}: {message}"


def parse(text: str, path: str) -> Config:
    """TOML text -> Config. Raises ConfigError; `path` is only for its messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    try:
        return Config.model_validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(path, e) for e in _told(error.errors()))) from None


def load(path: str | Path) -> Config:
    """Read a configuration file. Raises ConfigError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return parse(text, str(path))


def shipped(name: str) -> Path:
    """Path of a configuration that ships with the package: 'sim' or 'trossen_stationary'."""
    return Path(str(resources.files("controller") / "configs" / f"{name}.toml"))
