"""Which processes a daemon has, as one table: what runs, how it is scheduled, and what its loss means. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controller.board import camera_process
from controller.config import Config
from controller.faults import FaultCode


@dataclass(frozen=True, slots=True)
class Process:
    """One row. A child whose heartbeat is older than `beat_s` counts as hung and is killed."""

    name: str
    module: str
    loss: FaultCode | None
    """What its loss is in the fault matrix; None: its loss stops no motion."""
    beat_s: float
    start_s: float = 30.0
    """Time from its start to its first heartbeat: imports, opening the device."""
    nice: int = 0
    outlives_supervisor: bool = False


def _robot_start_s(config: Config) -> float:
    """LeRobot imports PyTorch, and the arms' driver tries for 20 s to reach one that is not there."""
    return 90.0 if config.robot.kind == "lerobot" else 30.0


def table(config: Config) -> list[Process]:
    """Every child of a daemon with this configuration, in the order in which they are started."""
    rows = [
        Process(
            *("motor", "controller.motor", FaultCode.MOTOR_LOST),
            beat_s=0.25,
            start_s=_robot_start_s(config),
            outlives_supervisor=True,
        ),
        Process("control", "controller.control", FaultCode.CONTROL_LOST, beat_s=0.25),
        Process("link", "controller.link", FaultCode.LINK_LOST, beat_s=1.0),
    ]
    if config.guard.enabled:
        rows.append(Process("guard", "controller.guard", FaultCode.GUARD_LOST, beat_s=2.0))
    rows += [
        Process(camera_process(name), "controller.camera", FaultCode.CAMERA_LOST, beat_s=2.0, nice=5)
        for name in config.cameras
    ]
    rows.append(Process("recorder", "controller.recorder", None, beat_s=10.0, nice=10))
    return rows
