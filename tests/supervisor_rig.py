"""A supervisor whose children are records that a test writes by hand: its conclusions, without a process or a wait."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import numpy as np

from controller import layout
from controller.board import camera_process, frame_ring, status_ring
from controller.config import parse, shipped
from controller.faults import FaultCode
from controller.follower import Mode
from controller.states import State, Trigger
from controller.supervisor import Supervisor
from controller.systemd import Manager

MS = 1_000_000


def configuration():
    text = re.sub(
        r'(\[cameras\.\w+\]\n)kind = "sim"',
        r'\1kind = "pattern"\nwidth = 64\nheight = 48',
        shipped("sim").read_text(),
    )
    return parse(text, "rig")


class Rig:
    """All is well until a test changes `status` (one record per process), `joints`, or ends a process; then `look`."""

    def __init__(self, config=None, environ=None, silent=()):
        """environ: what a service manager gave. silent: names that do not beat."""
        self.silent = set(silent)
        self.config = config or configuration()
        self.supervisor = Supervisor(self.config, "rig", Manager(environ or {}))
        self.supervisor.children.start = lambda *_: None
        rings = self.supervisor.owned.rings
        self.names = list(self.supervisor.children.all)
        self.status = {name: rings[status_ring(name)].blank() for name in self.names}
        self.writers = {name: rings[status_ring(name)].writer() for name in self.names}
        self.joints, self._joint_writer = rings["joints"].blank(), rings["joints"].writer()
        self.frames = {name: rings[frame_ring(name)].writer() for name in self.config.cameras}
        for number, (name, running) in enumerate(self.supervisor.children.all.items(), start=1):
            running.process = Process(number)
            running.started_ns, running.restarts = time.monotonic_ns(), 0
            self.status[name]["pid"] = number
        self.status["motor"]["mode"] = Mode.HOLD
        link = self.status["link"]
        link["connected"], link["server"] = 1, json.dumps({"cameras": self.config.policy.cameras}).encode()
        for name in self.config.cameras:
            camera = self.camera(name)
            camera["rate_hz"], camera["measured_hz"], camera["same_frames"] = 30.0, 30.0, 1
            camera["t_same_ns"] = camera["brightness"] = 1
        for back in range(120, 0, -1):  # readings enough for a rate
            self.joints["t_ns"] = time.monotonic_ns() - back * 5 * MS
            self._joint_writer.write(self.joints)
        self.look()

    def close(self):
        self.supervisor.owned.close()

    def camera(self, name="cam_high"):
        return self.status[camera_process(name)]

    def look(self):
        """Everybody beats, the joints are read, each camera has a frame; then the supervisor looks."""
        now_ns = time.monotonic_ns()
        for name, record in self.status.items():
            if self.process(name).alive and name not in self.silent:
                record["t_ns"] = now_ns
                self.writers[name].write(record)
        self.joints["t_ns"] = now_ns
        self._joint_writer.write(self.joints)
        for writer in self.frames.values():
            with writer.slot() as frame:
                frame["t_arrival_ns"] = now_ns
        self.supervisor._look()  # noqa: SLF001

    def process(self, name):
        return self.supervisor.children[name].process or Process(0, alive=False)

    def end(self, name):
        self.process(name).alive = False

    def report(self, name, code, text="said by the test"):
        """The child reports a fault of the motion of now."""
        record = self.status[name]
        record["fault"], record["fault_text"] = code, text.encode()
        record["fault_motion_id"] = self.supervisor.orders.motion_id

    def bring_to(self, state):
        """A state as its trigger makes it."""
        supervisor = self.supervisor
        if state is State.HOMING:
            supervisor.orders.begin_motion()
            supervisor.machine.fire(Trigger.HOME, supervisor.facts())
        if state is State.RUNNING:
            supervisor.machine.homed = True
            supervisor.orders.begin_motion()
            supervisor.machine.fire(Trigger.RUN, supervisor.facts())
        assert supervisor.machine.state is state

    @property
    def state(self):
        return self.supervisor.machine.state

    @property
    def fault(self):
        return FaultCode[self.supervisor.fault["code"].upper()] if self.supervisor.fault else FaultCode.NONE


class Process(SimpleNamespace):
    """What `children` asks of a process."""

    def __init__(self, pid, alive=True):
        super().__init__(pid=pid, alive=alive, exitcode=1)

    def is_alive(self):
        return self.alive

    def kill(self):
        self.alive = False

    def close(self):
        pass


def reading(rig, q, times=1):
    """The arms are at q now."""
    rig.joints["q"] = np.broadcast_to(np.asarray(q, dtype=np.float64), layout.JOINTS["q"].shape)
    for _ in range(times):
        rig.look()
