"""Reads the records that `inputs` judges. Runs in the supervisor, at each of its looks."""

from __future__ import annotations

import numpy as np

from controller import inputs
from controller.board import OwnedBoard, camera_process, frame_ring
from controller.children import Children
from controller.config import Config
from controller.faults import FaultCode
from controller.inputs import Health, Stillness
from controller.robots.base import Vector
from controller.status import server_of

RATE_READINGS = 100
"""Readings over which the rate of the joints is taken: half a second at 200 Hz."""


class InputWatch:
    """Every input that a run with the connected server needs."""

    def __init__(self, config: Config, children: Children, owned: OwnedBoard) -> None:
        self.config, self._children = config, children
        self._still = {name: Stillness(inputs.seen_joints(name)) for name in config.cameras}
        self._frame_readers = {name: owned.rings[frame_ring(name)].reader() for name in config.cameras}
        self._frames = {name: owned.rings[frame_ring(name)].blank() for name in config.cameras}
        self._joint_reader, self._joints = owned.rings["joints"].reader(), owned.rings["joints"].blank()
        self._rate_reader, self._earlier = owned.rings["joints"].reader(), owned.rings["joints"].blank()
        self._chunk_reader, self._chunk = owned.rings["chunk"].reader(), owned.rings["chunk"].blank()

    def wanted_cameras(self) -> tuple[str, ...]:
        """The cameras that the connected server asked for, else those of the configuration."""
        server = server_of(self._children["link"].status)
        return tuple(server["cameras"]) if server else self.config.policy.cameras

    def look(self, now_ns: int) -> tuple[FaultCode, str] | None:
        """Compare the pictures with what the arms did: the first wanted camera that cannot be believed, if any.

        Call it at each look at the children. The motor process watches the joints, and the link the policy; they
        report what they find themselves.
        """
        if self._joint_reader.newest(self._joints, fields=("t_ns", "q")):
            q = self._joints["q"].copy()
            for name, still in self._still.items():
                status = self._children[camera_process(name)].status
                still.look(int(status["same_frames"]), int(status["t_same_ns"]), q)
        for name in self.wanted_cameras():
            child = self._children[camera_process(name)]
            code, wrong = inputs.picture(self.config.cameras[name], child.status, self._still[name], now_ns)
            if wrong and child.healthy:
                return code, f"{name} {wrong}"
        return None

    def t_frame_ns(self, camera: str) -> int | None:
        """When the newest frame of a camera lay in memory."""
        known = self._frame_readers[camera].newest(self._frames[camera], fields=("t_arrival_ns",))
        return int(self._frames[camera]["t_arrival_ns"]) if known else None

    def camera(self, name: str, now_ns: int) -> Health:
        child = self._children[camera_process(name)]
        config = self.config.cameras[name]
        return inputs.camera(config, child.healthy, child.status, self.t_frame_ns(name), self._still[name], now_ns)

    def q_command(self) -> Vector:
        """The newest command of the motor process; with the arms at rest, the pose that is held. A copy."""
        self._joint_reader.newest(self._joints, fields=("q_command",))
        return np.array(self._joints["q_command"])

    def joints(self, now_ns: int) -> Health:
        motor = self._children["motor"]
        number = self._joint_reader.newest(self._joints, fields=("t_ns", "q"))
        t_ns, measured_hz = int(self._joints["t_ns"]) if number else None, None
        if t_ns and number > RATE_READINGS and self._rate_reader.at(number - RATE_READINGS, self._earlier):
            span_s = (t_ns - int(self._earlier["t_ns"])) * 1e-9
            measured_hz = RATE_READINGS / span_s if span_s > 0.0 else 0.0
        alarm = FaultCode(int(motor.status["joints_alarm"]))
        return inputs.joints(motor.healthy, alarm, t_ns, measured_hz, self.config.robot.rate_hz, now_ns)

    def policy(self, running: bool, now_ns: int) -> Health:
        """running: a run is under way and needs its answers."""
        link, t_chunk_ns, plan_left_s = self._children["link"], None, None
        if running:
            plan_left_s = float(self._children["control"].status["plan_left_s"])
            if self._chunk_reader.newest(self._chunk, fields=("t_received_ns",)):
                t_chunk_ns = int(self._chunk["t_received_ns"])
        bound_s = self.config.policy.request_timeout_s
        return inputs.policy(link.healthy, link.status, plan_left_s, t_chunk_ns, bound_s, now_ns)

    def health(self, running: bool, now_ns: int) -> dict[str, Health]:
        """All of them by name, for the status."""
        cameras = {name: self.camera(name, now_ns) for name in self.wanted_cameras()}
        return cameras | {"joints": self.joints(now_ns), "policy": self.policy(running, now_ns)}
