"""What a run lives on, judged: each camera, the joints, the policy. Pure.

Every input has the same five answers and, when it is not fit, a reason that goes on after its name: "cam_high" "is
dark ...". The records come from the processes that own the inputs; only the joints can say whether a picture should
have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from controller.config_camera import Camera
from controller.faults import FAULTS, FaultCode
from controller.robots.base import GRIPPERS, N_JOINTS, Vector

FRESH_RATE = 0.6
"""An input is at its rate when it delivers at least this part of the rate it is set to."""

TRAVEL_RAD = 0.05
"""A picture should change when a joint that the camera sees has gone so far."""

QUARANTINE_S = 1.0
"""How long a camera is not trusted after a frame that was stamped backwards in time."""

JOINTS_AGE_S = 0.1
"""Bound on the age of a joint reading; the motor process makes one in each tick."""

REFUSALS = (FaultCode.ANSWER_INVALID, FaultCode.POLICY_REFUSED, FaultCode.POLICY_STUCK)

Record = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """One input. at_rate and age_ms are None while nothing is known of them.

    code: the fault that its invalidity is in a run; NONE while it is valid.
    """

    alive: bool
    at_rate: bool | None
    valid: bool
    age_ms: float | None
    bound_ms: float
    reason: str
    code: FaultCode = FaultCode.NONE

    @property
    def fit(self) -> bool:
        return not self.reason


def at_rate(camera_status: Record) -> bool:
    """Whether a camera delivers what it is set to, as of its newest record."""
    return bool(camera_status["measured_hz"] >= FRESH_RATE * camera_status["rate_hz"] > 0)


def seen_joints(camera: str) -> list[int]:
    """The joints whose motion changes a camera's picture: of its own arm if it sits on one, else of both."""
    sides = {"cam_left_wrist": (0,), "cam_right_wrist": (1,)}.get(camera, (0, 1))
    half = N_JOINTS // 2
    return [joint for joint in range(N_JOINTS) if joint not in GRIPPERS and joint // half in sides]


class Stillness:
    """For one camera: how far the arms went, and how many frames came since, while it showed one picture.

    Frames count only from the moment at which the arms have gone TRAVEL_RAD: what was taken before may look the same.
    """

    def __init__(self, joints: list[int]) -> None:
        self._joints = joints
        self._t_same_ns = 0
        self._q: Vector | None = None
        self._frames_before: int | None = None
        self.travel_rad = 0.0
        self.frames = 0

    def look(self, same_frames: int, t_same_ns: int, q: Vector) -> None:
        """same_frames, t_same_ns: of the camera's record. q: the newest reading of the joints."""
        if self._q is None or t_same_ns != self._t_same_ns:
            self._t_same_ns, self._q = t_same_ns, q[self._joints]
            self.travel_rad, self.frames, self._frames_before = 0.0, 0, None
        if same_frames < 2:
            return  # as it should be: no picture is shown twice
        self.travel_rad = max(self.travel_rad, float(np.abs(q[self._joints] - self._q).max()))
        if self.travel_rad > TRAVEL_RAD and self._frames_before is None:
            self._frames_before = same_frames
        if self._frames_before is not None:
            self.frames = same_frames - self._frames_before


def _age_ms(t_ns: int | None, now_ns: int) -> float | None:
    return (now_ns - t_ns) * 1e-6 if t_ns else None


def _overdue(age_ms: float | None, bound_ms: float, what: str) -> str:
    if age_ms is None:
        return f"has given no {what} yet"
    return f"gave its newest {what} {age_ms:.0f} ms ago (bound {bound_ms:.0f} ms)" if age_ms > bound_ms else ""


def picture(config: Camera, status: Record, still: Stillness, now_ns: int) -> tuple[FaultCode, str]:
    """What is wrong with a camera's pictures; NONE and an empty text when nothing is."""
    patience = config.patience_frames
    if status["backwards"] and (ago_s := (now_ns - int(status["t_backwards_ns"])) * 1e-9) < QUARANTINE_S:
        return FaultCode.CAMERA_TIME, (
            f"stamped a frame no later than the one before it, {ago_s:.2f} s ago "
            f"({status['backwards']} in all; trusted again after {QUARANTINE_S:g} s)"
        )
    if int(status["dark_frames"]) >= patience:
        return FaultCode.CAMERA_DARK, (
            f"is dark: brightness {status['brightness']:.1f} (bound {config.dark_level:g}) "
            f"for {status['dark_frames']} frames (bound {patience})"
        )
    if still.frames >= patience:
        return FaultCode.CAMERA_FROZEN, (
            f"shows one picture for {status['same_frames']} frames, {still.frames} of them (bound {patience}) "
            f"since the arms moved; they went {still.travel_rad:.3f} rad (bound {TRAVEL_RAD:g} rad)"
        )
    return FaultCode.NONE, ""


def camera(
    config: Camera, alive: bool, status: Record, t_frame_ns: int | None, still: Stillness, now_ns: int
) -> Health:
    """status: a CAMERA_STATUS record. t_frame_ns: when its newest frame lay in memory."""
    code, wrong = picture(config, status, still, now_ns)
    age_ms, bound_ms = _age_ms(t_frame_ns, now_ns), 1e3 * config.max_age_s
    reason = "" if alive else "is not there: its process does not beat"
    reason = reason or wrong
    if not reason and not at_rate(status):
        reason = f"delivers {status['measured_hz']:.1f} Hz, set to {status['rate_hz']:.0f} Hz"
    reason = reason or _overdue(age_ms, bound_ms, "frame")
    return Health(alive, at_rate(status), not wrong, age_ms, bound_ms, reason, code)


def joints(
    alive: bool, alarm: FaultCode, t_reading_ns: int | None, measured_hz: float | None, rate_hz: float, now_ns: int
) -> Health:
    """alarm: of the motor process's own watch over the readings (joint_watch)."""
    age_ms, bound_ms = _age_ms(t_reading_ns, now_ns), 1e3 * JOINTS_AGE_S
    fresh = None if measured_hz is None else measured_hz >= FRESH_RATE * rate_hz
    reason = "" if alive else "are not there: the motor process does not beat"
    if not reason and alarm is not FaultCode.NONE:
        reason = f"cannot be believed: {FAULTS[alarm].title}"
    if not reason and fresh is False:
        reason = f"are read at {measured_hz:.0f} Hz, set to {rate_hz:.0f} Hz"
    reason = reason or _overdue(age_ms, bound_ms, "reading")
    return Health(alive, fresh, alarm is FaultCode.NONE, age_ms, bound_ms, reason, alarm)


def policy(
    beating: bool, status: Record, plan_left_s: float | None, t_chunk_ns: int | None, bound_s: float, now_ns: int
) -> Health:
    """status: a LINK_STATUS record. plan_left_s, t_chunk_ns: None while no run needs the policy."""
    alive = beating and bool(status["connected"])
    keeps_up = None if plan_left_s is None else plan_left_s > 0.0
    fault = FaultCode(int(status["fault"]))
    refused = fault in REFUSALS and int(status["fault_motion_id"]) >= int(status["first_chunk_motion_id"])
    reason = "" if alive else "is not connected"
    if not reason and refused:
        reason = f"was refused: {FAULTS[fault].title}"
    if not reason and keeps_up is False:
        reason = "does not keep up: no plan is left"
    age_ms = _age_ms(t_chunk_ns, now_ns)
    return Health(alive, keeps_up, not refused, age_ms, 1e3 * bound_s, reason, fault if refused else FaultCode.NONE)
