"""Who counts as hung, and who does not, on a clock set by hand."""

from types import SimpleNamespace

import pytest

from controller import layout
from controller.board import OwnedBoard, status_ring
from controller.children import Children, Running
from controller.config import load, shipped
from controller.faults import FaultCode
from controller.processes import Process, table
from shm import Owner, Ring, RingSpec

MS = 1_000_000
ROW = Process("control", "controller.control", FaultCode.CONTROL_LOST, beat_s=0.25, start_s=5.0)


class Rig:
    """One child that beats by hand, watched every 10 ms."""

    def __init__(self):
        spec = RingSpec(status_ring("control"), layout.CONTROL_STATUS, 4, 1)
        self.ring = Ring.create(Owner.current(), spec)
        self.writer, self.record = self.ring.writer(), self.ring.blank()
        self.running = Running(ROW, SimpleNamespace(rings={spec.name: self.ring}))
        self.running.process = SimpleNamespace(pid=77)
        self.t_ms = 0

    def beat(self, pid=77):
        self.record["pid"], self.record["t_ns"] = pid, self.t_ms * MS
        self.writer.write(self.record)

    def watch(self, ms, step_ms=10, beating=False):
        for _ in range(ms // step_ms):
            self.t_ms += step_ms
            if beating:
                self.beat()
            self.running.look(self.t_ms * MS)

    @property
    def hung(self):
        return self.running.hung(self.t_ms * MS)


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.ring.close()
    made.ring.unlink()


def test_a_child_that_beats_is_healthy(rig):
    rig.watch(2000, beating=True)
    assert rig.running.healthy
    assert rig.hung == ""


def test_a_child_that_falls_silent_is_hung_after_its_bound(rig):
    rig.watch(100, beating=True)
    rig.watch(240)
    assert rig.running.healthy
    rig.watch(30)
    assert rig.hung == "no heartbeat for 0.27 s (bound 0.25 s)"


def test_a_machine_that_stops_everybody_makes_nobody_hang(rig):
    rig.watch(100, beating=True)
    rig.watch(2000, step_ms=2000)
    assert rig.running.healthy
    rig.watch(100, beating=True)
    assert rig.running.silent_s == 0.0


def test_a_child_that_never_beats_is_hung_after_its_time_to_start(rig):
    rig.watch(4990)
    assert rig.hung == ""
    rig.watch(20)
    assert rig.hung == "no heartbeat within 5 s of its start"


def test_the_status_of_a_predecessor_is_no_heartbeat(rig):
    rig.beat(pid=76)
    rig.watch(100)
    assert not rig.running.has_beaten
    assert not rig.running.healthy
    assert rig.running.beat_age_s(rig.t_ms * MS) is None


def test_a_child_is_told_whether_it_is_not_the_first(monkeypatch):
    spawned = []

    def process(**given):
        spawned.extend(given["args"])
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr("multiprocessing.get_context", lambda _: SimpleNamespace(Process=process))
    owned = OwnedBoard(load(shipped("sim")))
    try:
        children = Children(load(shipped("sim")), owned, lambda *_: None)
        children.start(children["motor"], 0)
        children.start(children["motor"], 0)
    finally:
        owned.close()
    assert [(child.name, child.again) for child in spawned] == [("motor", False), ("motor", True)]


def test_every_process_of_a_configuration_is_in_the_table():
    rows = table(load(shipped("sim")))
    names = [row.name for row in rows]
    cameras = ["camera cam_high", "camera cam_low", "camera cam_left_wrist", "camera cam_right_wrist"]
    assert names == ["motor", "control", "link", "guard", *cameras, "recorder"]
    assert [row.name for row in rows if row.outlives_supervisor] == ["motor"]
    assert [row.name for row in rows if row.loss is None] == ["recorder"]
