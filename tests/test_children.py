"""Who counts as hung, and who does not, on a clock set by hand."""

import multiprocessing.util
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


@pytest.fixture
def children(monkeypatch):
    """Children whose processes are `made` by the test; what is told of losses is in `lost`."""
    made, lost = [], []
    monkeypatch.setattr("multiprocessing.get_context", lambda _: SimpleNamespace(Process=lambda **_: made.pop(0)))
    owned = OwnedBoard(load(shipped("sim")))
    try:
        yield Children(load(shipped("sim")), owned, lambda *told: lost.append(told)), made, lost
    finally:
        owned.close()


def refuse():
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_a_process_that_cannot_be_started_again_now_is_tried_later_and_ends_nothing(children, caplog):
    made, lost = children[1:]
    children = children[0]
    recorder = children["recorder"]
    children.all = {"recorder": recorder}
    made += [SimpleNamespace(start=refuse), SimpleNamespace(start=refuse), SimpleNamespace(start=int, pid=77)]
    children.watch(1_000 * MS)
    assert recorder.process is None
    assert "recorder cannot be started, and will be tried again: [Errno 11]" in caplog.text
    children.watch(1_490 * MS)
    assert len(made) == 2, "0.5 s after the first failure"
    children.watch(1_500 * MS)
    children.watch(2_490 * MS)
    assert (recorder.process, len(made)) == (None, 1)
    children.watch(2_500 * MS)
    assert recorder.pid == 77
    assert lost == []


def test_a_daemon_that_ends_leaves_behind_what_nothing_can_end(children, monkeypatch, caplog):
    made = children[1]
    children = children[0]
    unregistered, joined = [], []
    monkeypatch.setattr("atexit.unregister", unregistered.append)
    stuck = SimpleNamespace(start=int, pid=77, is_alive=lambda: True, kill=int, join=joined.append)
    made.append(stuck)
    children.start(children["camera cam_low"], 0)
    children.kill()
    assert all(0.0 <= timeout_s <= 2.0 for timeout_s in joined)
    assert len(joined) == 1
    assert "process=camera cam_low pid=77 is stuck in the kernel and left behind" in caplog.text
    assert unregistered == [multiprocessing.util._exit_function]  # noqa: SLF001


def test_every_process_of_a_configuration_is_in_the_table():
    rows = table(load(shipped("sim")))
    names = [row.name for row in rows]
    cameras = ["camera cam_high", "camera cam_low", "camera cam_left_wrist", "camera cam_right_wrist"]
    assert names == ["motor", "control", "link", "guard", *cameras, "recorder"]
    assert [row.name for row in rows if row.outlives_supervisor] == ["motor"]
    assert [row.name for row in rows if row.loss is None] == ["recorder"]
