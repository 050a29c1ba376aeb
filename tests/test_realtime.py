"""Rights are asked for once, and each is told as granted or refused."""

import gc
import os
import threading

import pytest

from controller import realtime
from controller.realtime import RealtimeRefused, Report, enter


@pytest.fixture
def unprivileged(monkeypatch):
    """A machine that grants nothing."""

    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(realtime, "_fifo", refuse)
    monkeypatch.setattr(realtime, "_lock_memory", refuse)
    yield
    gc.unfreeze()


def test_what_is_refused_is_said_and_the_rest_goes_on(unprivileged):
    report = enter(20, True, None, required=False)
    assert report.granted == ()
    assert str(report) == "NOT mlockall (Operation not permitted), NOT fifo 20 (Operation not permitted)"


def test_a_required_right_that_is_refused_ends_the_process(unprivileged):
    with pytest.raises(RealtimeRefused, match="fifo 20"):
        enter(20, False, None, required=True)


def test_nothing_asked_is_nothing_refused(unprivileged):
    assert str(enter(0, False, None, required=True)) == "none asked"


@pytest.mark.parametrize("threads", [False, True])
def test_other_threads_get_the_priority_where_that_is_asked(monkeypatch, threads):
    asked, end = [], threading.Event()
    monkeypatch.setattr(os, "sched_setscheduler", lambda thread, *_: asked.append(thread))
    other = threading.Thread(target=end.wait)
    other.start()
    assert enter(20, False, None, required=True, threads=threads).granted == ("fifo 20",)
    end.set()
    other.join()
    gc.unfreeze()
    assert (other.native_id in asked) is threads
    assert asked[0] == 0


def test_a_core_is_asked_for_by_number(unprivileged, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda _pid, cores: asked.append(cores))
    assert enter(0, False, 1, required=True).granted == ("cpu 1",)
    assert asked == [{1}]


def test_a_core_that_is_not_there_is_refused(unprivileged):
    assert "cpu 4095" in str(enter(0, False, 4095, required=False).refused)


def test_the_cpus_are_held_awake_while_the_descriptor_is_open(monkeypatch, tmp_path):
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda _path, flags: real_open(path, flags))
    descriptor, text = realtime.hold_cpu_awake()
    os.close(descriptor)
    assert path.read_bytes() == b"\0\0\0\0"
    assert text == "cpu_dma_latency 0"


def test_a_machine_without_the_device_says_so(monkeypatch):
    def missing(_path, _flags):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "open", missing)
    assert realtime.hold_cpu_awake() == (None, "NOT cpu_dma_latency (No such file or directory)")


def test_a_report_reads_as_one_line():
    assert str(Report(("mlockall",), ("fifo 20 (no)",))) == "mlockall, NOT fifo 20 (no)"
