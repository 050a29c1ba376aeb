"""The configuration of one camera. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from controller.config_lerobot import LerobotCamera
from controller.config_section import Positive, Section, Text

CAMERA_NAMES = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")

KINDS_WITH: dict[str, tuple[str, ...]] = {
    "serial": ("realsense",),
    "exposure_us": ("realsense", "v4l2"),
    "gain": ("realsense", "v4l2"),
    "device": ("v4l2",),
    "pixel_format": ("v4l2",),
    "path": ("file",),
    "loop": ("file",),
    "lerobot": ("lerobot",),
}
"""Keys that only these kinds of camera have; given to another kind they are refused, not ignored."""

NEEDED = {
    "realsense": ("serial", "the camera's serial number"),
    "v4l2": ("device", "the camera's path, best one of /dev/v4l/by-id"),
    "file": ("path", "the path of a video or of a folder of pictures"),
    "lerobot": ("lerobot", "{ type = ..., config = ... } as LeRobot names them"),
}


class Camera(Section):
    """One table for each camera there is, under the name that the policy was trained with."""

    kind: Literal["sim", "pattern", "realsense", "v4l2", "file", "lerobot"]
    """pattern: a moving test picture, drawn in no time."""
    width: Annotated[int, Field(ge=16, le=4096)] = 640
    """Of the picture that the camera sends, in pixels."""
    height: Annotated[int, Field(ge=16, le=4096)] = 480
    """As width."""
    rate_hz: Annotated[float, Field(gt=0, le=120)] = 30.0
    """Pictures per second."""
    serial: Text | None = None
    """realsense: its serial number."""
    device: Text | None = None
    """v4l2: its path, best one of /dev/v4l/by-id."""
    pixel_format: Literal["mjpeg", "yuyv"] = "mjpeg"
    """v4l2: yuyv loses nothing and needs ten times the bandwidth of the USB bus."""
    path: Text | None = None
    """file: a video or a folder of pictures. A relative path starts at the daemon's working directory."""
    loop: bool = True
    """file: false, and the camera is lost where the file ends."""
    exposure_us: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """realsense, v4l2: none, and the camera chooses exposure and gain itself."""
    gain: Annotated[int, Field(ge=0)] | None = None
    """realsense, v4l2: in the device's own units."""
    lerobot: LerobotCamera | None = None
    max_age_s: Positive = 0.5
    """A run faults when the newest frame is older than this."""
    dark_level: Annotated[float, Field(ge=0, le=255)] = 8.0
    """A picture whose mean brightness is below this, of 255, is dark; 0: none is."""
    patience_frames: Annotated[int, Field(ge=2, le=1000)] = 10
    """A run faults after so many dark frames in a row, or so many of one picture while the arms moved."""

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Camera:
        key, what = NEEDED.get(self.kind, ("kind", ""))
        if not getattr(self, key):
            raise ValueError(f"kind = {self.kind!r} needs {key}: {what}")
        for key, kinds in KINDS_WITH.items():
            default = type(self).model_fields[key].default  # a recording's configuration spells all of them out
            if self.kind not in kinds and getattr(self, key) != default:
                raise ValueError(f"{key} is a matter of kind = {' or '.join(map(repr, kinds))}, not of {self.kind!r}")
        if self.gain is not None and self.exposure_us is None:
            raise ValueError(f"gain = {self.gain} needs exposure_us: with automatic exposure the camera chooses both")
        return self
