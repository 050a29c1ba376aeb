"""What the log tells of a motion, from its beginning to its end."""

import logging

import pytest
from supervisor_rig import Rig

from controller import layout
from controller.faults import FaultCode
from controller.states import State, Trigger


@pytest.fixture
def rig(caplog):
    caplog.set_level(logging.INFO, "controller")
    made = Rig()
    caplog.clear()
    yield made
    made.close()


def said(caplog):
    return [record.getMessage() for record in caplog.records]


def test_homing_begins_and_arrives_with_its_seconds(rig, caplog):
    rig.bring_to(State.HOMING)
    rig.supervisor.machine.fire(Trigger.ARRIVED)
    begins, arrives = said(caplog)
    assert begins == "homing 1 begins"
    assert arrives.startswith("homing 1 arrived after 0.")
    assert arrives.endswith(" s")
    assert caplog.records[1].fields == {"state": "idle", "before": "homing", "trigger": "arrived", "motion_id": 1}


def test_a_jog_is_called_one(rig, caplog):
    rig.supervisor.orders.begin_motion()
    rig.supervisor.machine.fire(Trigger.JOG, rig.supervisor.facts())
    rig.supervisor.machine.fire(Trigger.ARRIVED)
    begins, arrives = said(caplog)
    assert begins == "jog 1 begins"
    assert arrives.startswith("jog 1 arrived after 0.")


def handed(rig, times_ms):
    """Chunks of the motion of now whose first commands came so long after their newest frame."""
    writer, record = rig.supervisor.owned.rings["handed"].writer(), rig.supervisor.owned.rings["handed"].blank()
    record["motion_id"] = rig.supervisor.orders.motion_id
    for time_ms in times_ms:
        record["t_handed_ns"] = time_ms * 1_000_000
        writer.write(record)


def test_a_run_ends_with_what_became_of_it(rig, caplog):
    rig.status["control"]["chunks"], rig.status["motor"]["missed"] = 100, 7
    rig.look()
    rig.bring_to(State.RUNNING)
    handed(rig, range(1, 101))
    control = rig.status["control"]
    control["chunks"], control["late_chunks"], control["stall_ticks"], control["missed"] = 130, 2, 5, 1
    rig.status["motor"]["missed"] = 10
    rig.look()
    rig.supervisor.machine.fire(Trigger.STOP)
    assert said(caplog)[-1].startswith("run 1 stopped after 0.")
    assert said(caplog)[-1].endswith(
        " s: 30 chunks (2 late), 5 ticks without a plan, missed ticks 1 + 3 (motor), end to end p50 50 ms p95 95 ms"
    )


def test_latencies_of_another_run_are_not_this_one_s(rig, caplog):
    rig.bring_to(State.RUNNING)
    handed(rig, [10])
    rig.supervisor.machine.fire(Trigger.STOP)
    assert "end to end" in said(caplog)[-1]
    rig.bring_to(State.RUNNING)
    rig.supervisor.machine.fire(Trigger.STOP)
    assert "run 2 stopped" in said(caplog)[-1]
    assert "end to end" not in said(caplog)[-1]


def test_a_process_that_began_anew_makes_no_negative_counts(rig, caplog):
    rig.status["control"]["chunks"] = 100
    rig.look()
    rig.bring_to(State.RUNNING)
    rig.status["control"]["chunks"] = 3
    rig.look()
    rig.supervisor.machine.fire(Trigger.STOP)
    assert ": 0 chunks " in said(caplog)[-1]


def test_a_fault_is_one_error_with_cause_and_next_step(rig, caplog):
    rig.bring_to(State.RUNNING)
    rig.supervisor.trip(FaultCode.POLICY_LOST, "the server closed the connection")
    ended, fault = caplog.records[-2:]
    assert ended.getMessage().startswith("run 1 ended by a fault after ")
    assert fault.levelno == logging.ERROR
    assert fault.getMessage().startswith("fault policy_lost: ")
    assert "the server closed the connection; cause: " in fault.getMessage()
    assert "; next: " in fault.getMessage()
    assert fault.fields == {"fault": "policy_lost", "state": "fault", "before": "running", "motion_id": 1}


def test_a_story_that_cannot_be_told_stops_no_change_of_state(rig, caplog, monkeypatch):
    rig.bring_to(State.RUNNING)
    monkeypatch.setattr(rig.supervisor, "latencies", None)
    rig.supervisor.machine.fire(Trigger.STOP)
    assert rig.state is State.IDLE
    assert "running -> idle by stop, and the story of it is missing" in said(caplog)[-1]


def test_each_process_is_said_to_be_up_once_with_its_rights(caplog):
    caplog.set_level(logging.INFO, "controller")
    rig = Rig(silent={"control"})
    assert [text for text in said(caplog) if text.startswith("motor up after ")]
    assert not [text for text in said(caplog) if text.startswith("control")]
    caplog.clear()
    rig.silent.clear()
    rig.status["control"]["realtime"] = b"mlockall, NOT fifo 20 (Operation not permitted)"
    for _ in range(3):
        rig.look()
    (text,) = said(caplog)
    assert text.startswith("control up after ")
    assert text.endswith(" s: mlockall, NOT fifo 20 (Operation not permitted)")
    rig.close()


def test_a_camera_that_has_no_device_is_not_said_to_be_up(rig, caplog):
    camera = rig.supervisor.children["camera cam_low"]
    camera.process.pid, camera.restarts = 99, 1
    rig.status["camera cam_low"]["pid"], rig.status["camera cam_low"]["fault"] = 99, FaultCode.CAMERA_LOST
    rig.look()
    assert said(caplog) == []
    rig.status["camera cam_low"]["fault"] = FaultCode.NONE
    rig.look()
    assert said(caplog)[0].startswith("camera cam_low up again, restart 1, after ")
    assert layout.text(camera.status["realtime"]) == ""


def test_a_fault_at_rest_is_one_line_and_one_in_motion_says_how_far_it_went(rig, caplog):
    rig.supervisor.trip(FaultCode.ESTOP, "a test")
    (fault,) = said(caplog)
    assert fault.startswith("fault estop: ")
    rig.supervisor.machine.fire(Trigger.RESET, rig.supervisor.facts())
    assert said(caplog)[1:] == ["reset: fault is now idle"]
    rig.bring_to(State.RUNNING)
    rig.supervisor.trip(FaultCode.ESTOP, "a test")
    ended, fault = said(caplog)[-2:]
    assert "ended by a fault after 0." in ended
    assert fault.startswith("fault estop: ")
