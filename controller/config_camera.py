"""The configuration of one camera. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from controller.config_section import Positive, Section

CAMERA_NAMES = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


class Camera(Section):
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
