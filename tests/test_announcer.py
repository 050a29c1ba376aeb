"""What the service manager hears of the daemon and when, on a clock set by hand."""

from itertools import pairwise

import pytest
from service_rig import ServiceManager
from supervisor_rig import Rig

from controller.announcer import Announcer
from controller.children import UNKILLABLE_NS
from controller.states import State
from controller.status_line import StatusLine
from controller.systemd import Manager

MS = 1_000_000


@pytest.fixture
def service(tmp_path):
    made = ServiceManager(tmp_path, watchdog_s=2.0)
    yield made
    made.close()


class Told:
    """An announcer looked at every 10 ms of a made-up time."""

    def __init__(self, service):
        self.service, self.now_ns, self.line = service, 0, "idle"
        self.announcer = Announcer(Manager(service.environ), lambda: self.line)

    def look(self, ms=10, *, ready=True, stuck=""):
        """Everything that is told meanwhile, as (ms, text)."""
        told = []
        for _ in range(ms // 10):
            self.now_ns += 10 * MS
            self.announcer.look(self.now_ns, ready=ready, stuck=stuck)
            told += [(self.now_ns // MS, text) for text in self.service.told()]
        return told


def texts(told):
    return [text for _, text in told if text != "WATCHDOG=1"]


def test_ready_is_said_once_and_not_before_the_daemon_is_up(service):
    told = Told(service)
    assert texts(told.look(1000, ready=False)) == ["STATUS=not ready: idle"]
    assert texts(told.look(3000)) == ["READY=1", "STATUS=idle"]


def test_the_status_is_told_on_change_and_twice_a_second_at_most(service):
    told = Told(service)
    told.look(2000)
    found = []
    for number in range(100):
        told.line = f"running\n{number}"
        found += [(ms, text) for ms, text in told.look(20) if text.startswith("STATUS=")]
    assert len(found) == 4
    assert all("\n" not in text for _, text in found)
    assert all(later - earlier >= 500 for (earlier, _), (later, _) in pairwise(found))
    told.look(1000)
    assert texts(told.look(5000)) == []


def fed(told):
    return [ms for ms, text in told if text == "WATCHDOG=1"]


def test_the_watchdog_is_fed_several_times_within_its_time(service):
    found = fed(Told(service).look(10_000))
    assert found[0] <= 500
    assert max(later - earlier for earlier, later in pairwise(found)) <= 500
    assert len(found) <= 21, "and no more often than is of use"


def test_what_nothing_but_a_restart_can_mend_leaves_the_watchdog_hungry(service):
    told = Told(service)
    told.look(1000)
    found = told.look(2000, stuck="motor (pid 1) was killed and does not end")
    assert fed(found) == []
    assert texts(found) == ["STATUS=STUCK, waiting for the watchdog: motor (pid 1) was killed and does not end"]
    assert fed(told.look(1000)), "it is fed again where it went away by itself"


def test_a_reload_is_told_with_its_instant_and_ends_with_ready(service):
    told = Told(service)
    told.look(1000)
    told.announcer.reloading(told.now_ns)
    assert service.told() == [f"RELOADING=1\nMONOTONIC_USEC={told.now_ns // 1000}"]
    assert texts(told.look(600, ready=False)) == ["STATUS=not ready: idle"]
    assert texts(told.look(600))[0] == "READY=1"


def test_a_daemon_that_ends_is_fed_and_never_ready_again(service):
    told = Told(service)
    told.look(500, ready=False)
    told.announcer.stopping()
    told.announcer.extend(41.5)
    assert service.told() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=41500000"]
    found = told.look(2000)
    assert texts(found) == ["STATUS=ending: idle"]
    assert fed(found)
    told.announcer.reloading(told.now_ns)
    assert service.told() == [], "an end is final"


def test_what_could_not_be_delivered_is_said_again(service):
    told = Told(service)
    clog = Manager(dict(service.environ) | {"NOTIFY_SOCKET": service.path})
    while clog.tell("x"):
        pass
    told.announcer.look(10 * MS, ready=True, stuck="")
    service.told()
    told.now_ns = 20 * MS
    assert "READY=1" in texts(told.look())
    assert fed(told.look(600))


# ---- the supervisor's side: when it is ready, what is stuck ------------------------------------------------


@pytest.fixture
def rig(service):
    made = Rig(environ=service.environ)
    yield made
    made.close()


def announce(rig, service):
    rig.supervisor._announce()  # noqa: SLF001
    return texts((0, text) for text in service.told())


def test_the_daemon_is_ready_when_every_process_has_written_its_status(service):
    rig = Rig(environ=service.environ, silent={"recorder"})
    assert "READY=1" not in announce(rig, service)
    rig.silent.clear()
    rig.look()
    assert "READY=1" in announce(rig, service)
    rig.close()


def test_a_camera_that_hangs_at_its_start_is_a_state_and_does_not_hold_up_the_others(service):
    rig = Rig(environ=service.environ, silent={"camera cam_low"})
    assert "READY=1" not in announce(rig, service)
    rig.supervisor.children["camera cam_low"].started_ns -= 31_000_000_000
    rig.look()
    assert "READY=1" in announce(rig, service)
    rig.close()


def test_another_process_that_hangs_at_its_start_is_no_daemon_that_is_ready(service):
    rig = Rig(environ=service.environ, silent={"recorder"})
    rig.supervisor.children["recorder"].started_ns -= 31_000_000_000
    rig.look()
    assert "READY=1" not in announce(rig, service)
    rig.close()


def test_it_stays_ready_without_policy_server_and_cameras(rig, service):
    rig.status["link"]["connected"] = 0
    rig.end("camera cam_low")
    rig.look()
    assert "READY=1" in announce(rig, service)


def test_a_hung_process_that_is_replaced_is_no_matter_for_the_watchdog(rig):
    motor, robot = rig.supervisor.children["motor"], rig.supervisor.ready.robot
    motor.killed_for, motor.killed_ns = "no heartbeat", 0
    assert rig.supervisor.children.stuck(robot, UNKILLABLE_NS) == ""
    assert "motor (pid " in rig.supervisor.children.stuck(robot, UNKILLABLE_NS + 1)
    motor.killed_for = ""
    assert rig.supervisor.children.stuck(robot, UNKILLABLE_NS + 1) == ""
    camera = rig.supervisor.children["camera cam_low"]
    camera.killed_for, camera.killed_ns = "no heartbeat", 0
    assert rig.supervisor.children.stuck(robot, UNKILLABLE_NS + 1) == "", "nothing moves by a camera"


def test_the_line_says_state_rates_and_what_is_missing(rig):
    line = StatusLine(rig.supervisor)
    rig.look()
    text = line()
    assert text.startswith("idle, not homed; motor ")
    assert "cam_low 30 Hz" in text
    assert text.endswith("policy connected")
    rig.end("camera cam_low")
    rig.status["link"]["connected"] = 0
    rig.look()
    assert "cam_low DOWN" in line()
    assert line().endswith("no policy server")
    rig.status["link"]["connected"] = 1
    rig.bring_to(State.HOMING)
    rig.look()
    assert line().startswith("homing; ")
    rig.end("control")
    rig.look()
    assert line().startswith("fault control_lost: ")
    assert "; next: " in line()
    assert "control DOWN" in line()
