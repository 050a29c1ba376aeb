"""What a camera process needs from a camera: the one interface every adapter implements."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class CameraError(RuntimeError):
    """The camera refused or failed; the camera process ends and is started again with back-off."""


@dataclass(slots=True)
class FrameInfo:
    """When and which. Instants are CLOCK_MONOTONIC.

    t_exposure_ns: middle of the exposure if the device tells, else the nearest thing to it, the arrival at the latest
    (exposure_known False). t_arrival_ns: the frame lay in this machine's memory. number: of the device's own counter.
    t_device_ns: as the device stamped it, by a clock of its own; 0: it does not. exposure_us: how long; nan: not told.
    """

    t_exposure_ns: int
    t_arrival_ns: int
    number: int
    exposure_known: bool
    t_device_ns: int = 0
    exposure_us: float = math.nan


class Camera(ABC):
    """One colour camera that delivers RGB frames."""

    @abstractmethod
    def open(self) -> None:
        """Open the device and start streaming. Raises CameraError."""

    @abstractmethod
    def read(self, out: Image, timeout_s: float) -> FrameInfo | None:
        """Wait for the next frame and copy it into `out` ((height, width, 3) uint8 RGB).

        None when no frame came within timeout_s. Raises CameraError when the device is lost.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop streaming. Must not raise."""

    @property
    @abstractmethod
    def rate_hz(self) -> float:
        """The rate the camera is set to now. A simulated camera lowers it when the machine cannot keep up."""
