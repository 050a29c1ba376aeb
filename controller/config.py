"""The one configuration file: TOML, validated whole before anything starts. Read by every process.

Unknown keys, wrong types and impossible values are refused with file, key, value and bound; nothing is
replaced by a default in silence.
"""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from controller.config_camera import CAMERA_NAMES, Camera
from controller.config_robot import MoveLimits, Robot
from controller.config_section import Point, Positive, Section, Text
from controller.run_options import Seam


class ConfigError(ValueError):
    """The configuration cannot be used. The text has one line per fault: file, key, value, bound."""


class Control(Section):
    """The loop that turns action chunks into motion."""

    rate_hz: Annotated[float, Field(ge=10, le=500)] = 50.0
    """Ticks per second; whatever the policy's action rate."""
    seam: Literal["switch", "blend", "ensemble", "rtc"] = "blend"
    """How motion gets from one chunk to the next, unless a run chooses otherwise."""
    blend_s: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Shortest time in which the distance of a new chunk from the plan before is faded out, in the policy's time."""
    blend_max_s: Annotated[float, Field(ge=0, le=2)] = 1.0
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
    """Velocity, acceleration and jerk of the move from where the arms are to the first action of a run."""

    @property
    def seam_method(self) -> Seam:
        return Seam[self.seam.upper()]


class Policy(Section):
    """The policy server, and what it is sent."""

    url: str = "ws://127.0.0.1:8000"
    """ws://HOST:PORT, or wss:// where the server has a certificate."""
    api_key_file: Text | None = None
    """One line, the key that the server asks for; readable by the daemon's user only."""
    tls_ca_file: Text | None = None
    """PEM, by which a wss:// server is known; without it by this machine's certificate authorities."""
    cameras: Annotated[tuple[str, ...], Field(strict=False)] = CAMERA_NAMES
    """Sent when the server's metadata does not say which it wants (a stock openpi server)."""
    action_rate_hz: Positive = 50.0
    """Rate of the data set the policy was trained on, when the server does not say it (a stock openpi server): say it
    for a data set of 30 Hz, or its motion is played 1.67 times too fast."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 224
    """Side of the square that pictures are letterboxed into; a server that wants another is refused."""
    image_encoding: Literal["raw", "jpeg"] = "raw"
    """jpeg: for a slow link; pictures lose a little, and only a server that offers jpeg_images takes them."""
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 95
    """Of image_encoding = "jpeg"."""
    connect_timeout_s: Positive = 5.0
    """For a connection to stand."""
    request_timeout_s: Positive = 5.0
    """For an answer."""
    first_answer_timeout_s: Positive = 60.0
    """For the first one. Also for the metadata: a server may let its clients wait until it has compiled its model."""
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
        wanted = "must be like ws://HOST:PORT, with a port of 1 to 65535"
        try:
            parts = urlsplit(url)
            named = bool(parts.hostname) and parts.port != 0
            (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise ValueError(f"{wanted}: {error}") from None
        if not named or any(letter.isspace() for letter in url):
            raise ValueError(wanted)
        return url

    @model_validator(mode="after")
    def _an_authority_needs_tls(self) -> Policy:
        if self.tls_ca_file is not None and not self.url.startswith("wss://"):
            raise ValueError(f"tls_ca_file is {self.tls_ca_file!r}, and url {self.url!r} is not wss://")
        return self


class Guard(Section):
    """The collision guard: looks ahead along the plan for collisions, on the kit's kinematic model."""

    enabled: bool = True
    """False: nobody looks ahead, and status says so."""
    horizon_s: Annotated[float, Field(ge=0.2, le=2.0)] = 0.5
    """How far it looks ahead."""
    lag_s: Annotated[float, Field(ge=0.1, le=1.0)] = 0.3
    """A motion whose plan has not been looked at for so long faults. What is left of the horizon is for braking."""
    arm_clearance_m: Annotated[float, Field(ge=0, le=0.09)] = 0.015
    """Least distance of one arm from the other."""
    table_clearance_m: Annotated[float, Field(ge=-0.02, le=0.09)] = 0.01
    """Of an arm from table and frame."""
    finger_table_clearance_m: Annotated[float, Field(ge=-0.02, le=0.09)] = -0.003
    """Of the fingers from the table plate: below 0, they may be commanded so far into it."""
    workspace_lower: Point = (-0.40, -0.80, 0.0)
    """Corner of the box (x, y, z in m) that no link's origin and no tool point may leave: origin under the middle of
    the table plate, x away from the operator's camera post, y left, z up."""
    workspace_upper: Point = (0.60, 0.80, 0.85)
    """The opposite corner."""

    @model_validator(mode="after")
    def _ordered(self) -> Guard:
        for axis, low, high in zip("xyz", self.workspace_lower, self.workspace_upper, strict=True):
            if low >= high:
                raise ValueError(f"workspace is reversed: {axis} from {low} to {high}")
        if self.lag_s >= self.horizon_s:
            raise ValueError(f"lag_s = {self.lag_s} must be below horizon_s = {self.horizon_s}")
        return self


class Recorder(Section):
    """What is written of every motion and every fault."""

    enabled: bool = True
    """False: motions are not recorded; the seconds before a fault are kept all the same."""
    directory: Text = "runs/recordings"
    """One folder for each motion; nothing removes them. A relative path starts at the daemon's working directory."""
    video_rate_hz: Annotated[float, Field(ge=0, le=60)] = 10.0
    """Pictures per second of a recording's video; 0: none."""
    kept_faults: Annotated[int, Field(ge=1)] = 100
    """Dumps of faults kept in its folder `faults`; older ones are removed."""


class Daemon(Section):
    """The daemon itself, and who may command it."""

    socket: Text | None = None
    """Path of the socket that pi0ctl speaks to; none: /run/pi0-controller/control.sock for the service, by hand one in
    XDG_RUNTIME_DIR."""
    group: Text | None = None
    """Members of this group may command; none: the daemon's own user only."""
    lease_s: Annotated[float, Field(ge=0.03, le=1.0)] = 0.1
    """Motion ends this long after the supervisor last said that it may go on."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""


class Realtime(Section):
    """What is asked of the kernel, so that other work of the machine delays no command."""

    required: bool = False
    """True: a real-time right that is not granted ends the daemon; False: it is said and motion goes on."""
    supervisor_priority: Annotated[int, Field(ge=0, le=80)] = 10
    """SCHED_FIFO; 0: ordinary scheduling. The lowest of the three: the lease shall end when the supervisor hangs,
    not when cameras keep all cores busy."""
    control_priority: Annotated[int, Field(ge=0, le=80)] = 20
    """Likewise, of the control process."""
    motor_priority: Annotated[int, Field(ge=0, le=80)] = 30
    """Likewise, of the motor process."""
    lock_memory: bool = True
    """mlockall in control and motor: none of their pages is ever fetched from disk."""
    cpu_dma_latency: bool = True
    """Hold /dev/cpu_dma_latency at 0: the largest single knob on an idle machine."""
    control_cpu: Annotated[int, Field(ge=0)] | None = None
    """The processor that the control process stays on; none: any."""
    motor_cpu: Annotated[int, Field(ge=0)] | None = None
    """The processor of the motor process."""


class Config(Section):
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
                raise ValueError(
                    f"policy.cameras names {name!r} (all four where it is not set), configured are {known}: "
                    f"add [cameras.{name}], or set policy.cameras to those"
                )
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
        left_s, stop_s = self.guard.horizon_s - self.guard.lag_s, self.robot.limits.longest_stop_s()
        if self.guard.enabled and left_s < stop_s:
            raise ValueError(
                f"guard.horizon_s = {self.guard.horizon_s} leaves {left_s:.2f} s after lag_s = {self.guard.lag_s}, and "
                f"a stop from top speed takes {stop_s:.2f} s: raise horizon_s, or robot.limits.brake"
            )
        for name, camera in self.cameras.items():
            if camera.kind == "sim" and not self.robot.is_simulated:
                raise ValueError(f"cameras.{name}.kind = 'sim' needs robot.kind = 'sim'")
        return self


WHAT_MOVES = {"robot", "control", "cameras", "policy", "guard"}
"""The sections that say how the arms move, and what a policy sees."""


def fingerprint(config: Config) -> str:
    """Another one after a change in WHAT_MOVES, wherever the file lies."""
    return hashlib.sha256(config.model_dump_json(include=WHAT_MOVES).encode()).hexdigest()[:12]


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


SHIPPED = ("sim", "trossen_stationary")
"""The configurations that come with the package."""


def shipped(name: str) -> Path:
    """Path of one of SHIPPED."""
    return Path(str(resources.files("controller") / "configs" / f"{name}.toml"))
