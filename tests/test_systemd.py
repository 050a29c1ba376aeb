"""The notification protocol, spoken to a socket of the test's own; both programs' copies."""

import os
from pathlib import Path

import pytest
from service_rig import ServiceManager

import controller.systemd
import policy_server.systemd

BOTH = pytest.mark.parametrize("systemd", [controller.systemd, policy_server.systemd], ids=lambda it: it.__name__)


def test_both_programs_have_the_same_file():
    ours, theirs = (Path(module.__file__).read_bytes() for module in (controller.systemd, policy_server.systemd))
    assert ours == theirs, "cp controller/systemd.py policy_server/systemd.py"


@BOTH
@pytest.mark.parametrize("abstract", [False, True])
def test_assignments_arrive_in_one_datagram(systemd, tmp_path, abstract):
    service = ServiceManager(tmp_path, abstract=abstract)
    manager = systemd.Manager(service.environ)
    assert manager.listens
    assert manager.tell("READY=1", "STATUS=serving")
    assert service.told() == ["READY=1\nSTATUS=serving"]
    service.close()


@BOTH
def test_no_child_can_speak_for_its_parent(systemd, tmp_path):
    service = ServiceManager(tmp_path, watchdog_s=2.0)
    environ = service.environ | {"WATCHDOG_PID": str(os.getpid()), "PATH": "/bin"}
    assert systemd.Manager(environ).watchdog_s == 2.0
    assert environ == {"PATH": "/bin"}
    service.close()


@BOTH
def test_without_a_manager_nothing_is_said_and_nothing_fails(systemd):
    manager = systemd.Manager({})
    assert not manager.listens
    assert manager.watchdog_s is None
    assert manager.tell("READY=1")


@BOTH
def test_a_watchdog_that_was_meant_for_another_process_is_none(systemd):
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}
    assert systemd.Manager(environ).watchdog_s is None


@BOTH
def test_a_manager_that_does_not_take_it_holds_nobody_up(systemd, tmp_path):
    service = ServiceManager(tmp_path)
    manager = systemd.Manager(service.environ)
    taken = 0
    while manager.tell("STATUS=" + "x" * 1000):  # nobody reads: the queue fills
        taken += 1
    assert taken > 0
    assert len(service.told()) == taken
    assert manager.tell("READY=1"), "there is room again"
    service.close()
    assert not manager.tell("READY=1"), "nobody is there"


@BOTH
def test_a_value_ends_with_its_line(systemd):
    assert systemd.one_line("two\nlines  and\ta tab\n") == "two lines and a tab"
