"""The supervisor does what the fault matrix says: every code, in every state, whoever finds it."""

import asyncio

import pytest
from supervisor_rig import Rig, reading

from controller.fault_matrix import MATRIX, Reaction, trips
from controller.faults import FaultCode
from controller.states import State, Trigger

STATES = [State.IDLE, State.HOMING, State.RUNNING]
LOST = {
    FaultCode.CONTROL_LOST: "control",
    FaultCode.MOTOR_LOST: "motor",
    FaultCode.CAMERA_LOST: "camera cam_low",
    FaultCode.LINK_LOST: "link",
}


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.close()


def told(rig):
    """What the status says is missing, to whatever is asked for."""
    facts = rig.supervisor.facts()
    return f"{facts.robot_missing} {facts.run_missing}".strip()


def check(rig, code, state):
    """The reaction of the matrix, and no other."""
    reaction = MATRIX[code].at(state)
    if trips(code, state):
        assert (rig.state, rig.fault) == (State.FAULT, code)
        return
    assert (rig.state, rig.fault) == (state, FaultCode.NONE)
    facts = rig.supervisor.facts()
    if reaction is Reaction.HOLD:
        assert facts.robot_missing
    if reaction in (Reaction.REFUSED, Reaction.TOLD):
        assert facts.run_missing
        assert not facts.robot_missing


def test_a_rig_on_which_all_is_well_may_home_and_run(rig):
    assert told(rig) == ""
    for state in STATES[1:]:
        rig.bring_to(state)
        rig.look()
        assert rig.fault is FaultCode.NONE
        rig.supervisor.machine.fire(Trigger.STOP)


@pytest.mark.raises_fault("estop", "idle", "homing", "running")
@pytest.mark.parametrize("state", STATES)
def test_an_emergency_stop(rig, state):
    rig.bring_to(state)
    asyncio.run(rig.supervisor.estop("a test"))
    check(rig, FaultCode.ESTOP, state)


@pytest.mark.raises_fault("control_lost", "idle", "homing", "running")
@pytest.mark.raises_fault("motor_lost", "idle", "homing", "running")
@pytest.mark.raises_fault("camera_lost", "idle", "homing", "running")
@pytest.mark.raises_fault("link_lost", "idle", "homing", "running")
@pytest.mark.parametrize("code", LOST)
@pytest.mark.parametrize("state", STATES)
def test_a_process_that_ended(rig, code, state):
    rig.bring_to(state)
    rig.end(LOST[code])
    rig.look()
    check(rig, code, state)


def test_a_camera_that_the_server_does_not_want_may_be_lost(rig):
    rig.status["link"]["server"] = b'{"cameras": ["cam_high"]}'
    rig.look()
    rig.bring_to(State.RUNNING)
    rig.end("camera cam_low")
    rig.look()
    assert rig.state is State.RUNNING


@pytest.mark.raises_fault("robot_error", "idle", "homing", "running")
@pytest.mark.parametrize("state", STATES)
def test_a_motor_process_that_ends_on_its_robot(rig, state):
    rig.bring_to(state)
    rig.report("motor", FaultCode.ROBOT_ERROR)
    if state is State.IDLE:
        rig.look()
    rig.end("motor")
    rig.writers["motor"].write(rig.status["motor"])
    rig.look()
    check(rig, FaultCode.ROBOT_ERROR, state)


REPORTED = [code for code in MATRIX if code not in LOST and code not in (FaultCode.ESTOP, FaultCode.GUARD_LOST)]


@pytest.mark.parametrize("code", REPORTED)
@pytest.mark.parametrize("state", [State.HOMING, State.RUNNING])
@pytest.mark.parametrize("process", ["motor", "control", "link"])
def test_what_a_child_reports_is_a_fault_where_the_matrix_says_so(rig, process, code, state):
    rig.bring_to(state)
    rig.report(process, code)
    rig.look()
    assert (rig.fault is code) is trips(code, state)


@pytest.mark.parametrize("code", REPORTED)
def test_what_a_child_reported_of_an_earlier_motion_stops_no_other(rig, code):
    rig.report("link", code)
    rig.bring_to(State.RUNNING)
    rig.look()
    assert rig.fault is FaultCode.NONE


@pytest.mark.raises_fault("policy_lost", "idle", "homing")
@pytest.mark.raises_fault("policy_refused", "homing")
@pytest.mark.raises_fault("answer_invalid", "homing")
@pytest.mark.parametrize("code", [FaultCode.POLICY_LOST, FaultCode.POLICY_REFUSED, FaultCode.ANSWER_INVALID])
@pytest.mark.parametrize("state", [State.IDLE, State.HOMING])
def test_a_session_that_ends_while_no_run_needs_it(rig, code, state):
    rig.bring_to(state)
    rig.status["link"]["connected"], rig.status["link"]["error"] = 0, code.name.encode()
    rig.look()
    check(rig, code, state)
    assert code.name in told(rig)


def dark(rig):
    camera = rig.camera("cam_low")
    camera["brightness"], camera["dark_frames"] = 1.5, rig.config.cameras["cam_low"].patience_frames
    rig.look()


def backwards(rig):
    camera = rig.camera("cam_low")
    camera["backwards"], camera["t_backwards_ns"] = 1, int(camera["t_ns"])
    rig.look()


def frozen(rig):
    rig.camera("cam_low")["same_frames"] = 2
    reading(rig, 0.2)
    rig.camera("cam_low")["same_frames"] += rig.config.cameras["cam_low"].patience_frames
    rig.look()


PICTURES = {FaultCode.CAMERA_DARK: dark, FaultCode.CAMERA_TIME: backwards, FaultCode.CAMERA_FROZEN: frozen}


@pytest.mark.raises_fault("camera_dark", "idle", "homing", "running")
@pytest.mark.raises_fault("camera_time", "idle", "homing", "running")
@pytest.mark.raises_fault("camera_frozen", "idle", "homing", "running")
@pytest.mark.parametrize("code", PICTURES)
@pytest.mark.parametrize("state", STATES)
def test_a_camera_whose_pictures_cannot_be_believed(rig, code, state):
    rig.bring_to(state)
    PICTURES[code](rig)
    check(rig, code, state)
    if state is not State.RUNNING:
        assert told(rig).startswith("cam_low ")
    else:
        assert "cam_low" in rig.supervisor.fault["message"]


@pytest.mark.parametrize("code", PICTURES)
def test_a_camera_that_the_server_does_not_want_is_not_judged(rig, code):
    rig.status["link"]["server"] = b'{"cameras": ["cam_high"]}'
    rig.look()
    rig.bring_to(State.RUNNING)
    PICTURES[code](rig)
    assert rig.state is State.RUNNING
    assert list(rig.supervisor.status()["inputs"]) == ["cam_high", "joints", "policy"]


@pytest.mark.raises_fault("camera_stale", "idle", "homing")
@pytest.mark.parametrize("state", [State.IDLE, State.HOMING])
def test_a_camera_that_falls_silent_while_no_run_needs_it(rig, state):
    rig.bring_to(state)
    rig.camera("cam_low")["measured_hz"] = 2.0
    rig.look()
    check(rig, FaultCode.CAMERA_STALE, state)
    assert told(rig) == "cam_low delivers 2.0 Hz, set to 30 Hz"


@pytest.mark.raises_fault("joints_time", "idle")
@pytest.mark.raises_fault("joints_invalid", "idle")
@pytest.mark.parametrize("code", [FaultCode.JOINTS_TIME, FaultCode.JOINTS_INVALID])
def test_no_motion_begins_on_readings_that_cannot_be_believed(rig, code):
    rig.status["motor"]["joints_alarm"] = code
    rig.look()
    check(rig, code, State.IDLE)
    assert "home" not in rig.supervisor.allowed()
    rig.status["motor"]["joints_alarm"] = FaultCode.NONE
    rig.look()
    assert told(rig) == ""


def test_the_status_shows_every_input_with_its_reason(rig):
    dark(rig)
    rows = rig.supervisor.status()["inputs"]
    assert list(rows) == [*rig.config.policy.cameras, "joints", "policy"]
    assert rows["cam_low"]["valid"] is False
    assert rows["cam_low"]["reason"].startswith("is dark: brightness 1.5 (bound 8)")
    for name in ("cam_high", "joints", "policy"):
        assert rows[name]["alive"]
        assert rows[name]["valid"]
        assert rows[name]["reason"] is None
    assert rows["joints"]["at_rate"]
    assert rows["joints"]["age_ms"] <= rows["joints"]["bound_ms"]
