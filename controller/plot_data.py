"""What the plot of a recording shows, worked out from its rows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.config_robot import both_arms
from controller.follower import Mode
from controller.limits import Rate, rates
from controller.planner import Phase
from controller.recording import Recording, Rows, ticks_of
from controller.robots.base import GRIPPERS, JOINT_NAMES
from controller.states import State

Times = NDArray[np.float64]
"""Instants of CLOCK_MONOTONIC in ns, as floats: they fall between the recorded ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One chunk of actions and when each was to be executed, had no newer chunk come."""

    t_ns: Times
    actions: NDArray[np.float64]


def zero_ns(recording: Recording) -> int:
    """The instant that the plot calls 0: the fault, or the motion's first tick."""
    if recording.fault is not None:
        return int(recording.fault["t_ns"])
    ticks = ticks_of(recording)
    return int(ticks["deadline_ns"][0] if len(ticks) else recording.meta["started_monotonic_ns"])


def ticks_shown(recording: Recording) -> Rows:
    """Of a run its own ticks; of anything else every tick but those that a chunk's arrival woke."""
    if recording.is_run:
        return ticks_of(recording)
    own: Rows = recording.ticks[recording.ticks["woken"] == 0]
    return own


def commands_shown(recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Instants and joint vectors: what was commanded; of a dry run what control would have sent."""
    if not is_dry(recording):
        return recording.joints["t_command_ns"], recording.joints["q_command"]
    own = recording.ticks[recording.ticks["motion_id"] == recording.motion_id]
    return own["t_ns"] + round(recording.config.control.command_s * 1e9), own["q1"]


def is_dry(recording: Recording) -> bool:
    """A run in which nothing was commanded."""
    return bool(recording.ticks["dry"][recording.ticks["motion_id"] == recording.motion_id].any())


def joint_shown(recording: Recording) -> tuple[int, bool]:
    """The joint whose plans are worth a look: one that the fault's message names (True), or that moved most since the
    motion began."""
    message = str((recording.fault or {}).get("message", ""))
    named = [joint for joint, name in enumerate(JOINT_NAMES) if name in message]
    if named:
        return named[0], True
    own = recording.joints["q_command"][recording.joints["motion_id"] == recording.motion_id]
    if is_dry(recording):
        own = commands_shown(recording)[1]
    moved = np.ptp(own, axis=0) if len(own) else np.zeros(len(JOINT_NAMES))
    moved[list(GRIPPERS)] = 0.0
    return int(np.argmax(np.nan_to_num(moved))), False


def plans(recording: Recording) -> list[Plan]:
    """Every recorded chunk, laid out in real time.

    Action k of a chunk belongs k / action_rate_hz after its observation, in the policy's own time; the ticks say how
    that passed against real time. Where they do not, because it never began to pass, both are taken to be the same.
    """
    passing = {int(motion): _passing(recording.ticks, motion) for motion in set(recording.chunks["motion_id"])}
    found = []
    for chunk in recording.chunks:
        count = int(chunk["n_steps"])
        ahead_ns = np.arange(count) * (1e9 / chunk["action_rate_hz"])
        time = passing[int(chunk["motion_id"])]
        t_ns = chunk["t_observation_ns"] + ahead_ns if time is None else time.ahead(chunk["t_observation_ns"], ahead_ns)
        found.append(Plan(t_ns, chunk["actions"][:count]))
    return found


def apart(recording: Recording, drawn: list[Plan], joint: int) -> list[tuple[Times, NDArray[np.float64]]]:
    """Each plan's distance from the command, at those of its instants at which commands were recorded."""
    t_ns, q = commands_shown(recording)
    found = []
    for plan in drawn:
        inside = (plan.t_ns >= t_ns[0]) & (plan.t_ns <= t_ns[-1])
        if inside.any():
            at_ns = plan.t_ns[inside]
            found.append((at_ns, plan.actions[inside, joint] - np.interp(at_ns, t_ns, q[:, joint])))
    return found


@dataclass(frozen=True, slots=True)
class _Passing:
    """How the policy's time passed in a run: recorded pairs, both rising."""

    t_ns: Times
    tau_ns: Times
    speed: float
    """Behind the last pair."""

    def ahead(self, t_ns: int, ahead_ns: Times) -> Times:
        """The instants that lie so far ahead of one, in the policy's time."""
        end_t_ns, end_tau_ns = self.t_ns[-1], self.tau_ns[-1]
        late_ns = max(float(t_ns - end_t_ns), 0.0)
        tau_ns = np.interp(t_ns, self.t_ns, self.tau_ns) + late_ns * self.speed + ahead_ns
        beyond_ns = np.maximum(tau_ns - end_tau_ns, 0.0) / self.speed
        instants: Times = np.interp(tau_ns, self.tau_ns, self.t_ns) + beyond_ns
        return instants


def _passing(ticks: Rows, motion_id: int) -> _Passing | None:
    own = ticks[(ticks["motion_id"] == motion_id) & (ticks["state"] == State.RUNNING.code)]
    rising = np.flatnonzero(np.diff(own["tau_ns"], prepend=-1) > 0)
    if len(rising) < 2:
        return None
    rising[0] = rising[1] - 1  # it stands still at first, while the arms are led to action 0
    speed = float(own["speed"][rising[-1]])
    kept = own[rising]
    return _Passing(kept["t_ns"].astype(np.float64), kept["tau_ns"].astype(np.float64), speed if speed > 0 else 1.0)


def parts_of_limits(recording: Recording) -> list[Rate]:
    """Velocity, acceleration and, where it is bounded and known, what contacts exert: each with its bounds."""
    limits = recording.config.robot.limits
    found = rates(recording.joints, limits)
    effort = recording.joints["external_effort"]
    if limits.contact is not None and np.isfinite(effort).any():
        bounds = np.broadcast_to(both_arms(limits.contact), effort.shape)
        found.append(Rate("external effort", recording.joints["t_command_ns"], effort, bounds))
    return found


def braking(recording: Recording) -> list[tuple[int, int]]:
    """From when to when the motor process braked."""
    return _spans(recording.joints["t_command_ns"], recording.joints["mode"] == Mode.BRAKE)


def ramping(recording: Recording) -> list[tuple[int, int]]:
    """From when to when control led the arms to a run's first action."""
    ticks = recording.ticks
    return _spans(ticks["t_ns"], (ticks["phase"] == Phase.RAMP) & (ticks["state"] == State.RUNNING.code))


def _spans(t_ns: NDArray[np.int64], holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(holds.astype(np.int8), prepend=0, append=0))
    last = len(t_ns) - 1
    return [(int(t_ns[begin]), int(t_ns[min(end, last)])) for begin, end in edges.reshape(-1, 2)]
