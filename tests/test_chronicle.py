"""What the supervisor tells the recorder of its faults: each that was latched, once."""

import pytest
from synthetic import sim_config

from controller import layout
from controller.faults import FAULTS, FaultCode
from controller.run_options import RunOptions
from controller.runs import Run
from controller.supervisor import Supervisor
from controller.systemd import Manager


@pytest.fixture
def supervisor():
    made = Supervisor(sim_config(), "sim", Manager({}))
    yield made
    made.owned.close()


def told(supervisor, ring):
    reader, record = supervisor.owned.rings[ring].reader(), supervisor.owned.rings[ring].blank()
    found = []
    while reader.next(record):
        found.append(record.copy())
    return found


def test_a_latched_fault_is_told_with_what_it_put_an_end_to(supervisor):
    options = RunOptions()
    motion_id = supervisor.orders.begin_motion()
    supervisor.runs.playing = Run(motion_id, "put the lighter into the cup", options, options, "")
    supervisor.trip(FaultCode.TRACKING, "left_joint_1 is 0.41 from its command")
    (record,) = told(supervisor, "fault")
    assert FaultCode(int(record["code"])) is FaultCode.TRACKING
    title = FAULTS[FaultCode.TRACKING].title
    assert layout.text(record["message"]) == f"{title}: left_joint_1 is 0.41 from its command"
    assert layout.text(record["time"]) == supervisor.fault["time"]
    assert layout.text(record["state_before"]) == "idle"
    assert layout.text(record["prompt"]) == "put the lighter into the cup"
    assert record["motion_id"] == 1
    (event,) = [event for event in told(supervisor, "event") if event["kind"] == b"fault"]
    assert event["t_ns"] == record["t_ns"]


def test_on_top_of_a_fault_only_a_first_emergency_stop_is_one_of_its_own(supervisor, caplog):
    for code in (FaultCode.TRACKING, FaultCode.MOTOR_LOST, FaultCode.ESTOP, FaultCode.ESTOP, FaultCode.LINK_LOST):
        supervisor.trip(code, "")
    codes = [FaultCode(int(record["code"])) for record in told(supervisor, "fault")]
    assert codes == [FaultCode.TRACKING, FaultCode.ESTOP]
    assert supervisor.fault["code"] == "estop"
    kinds = [layout.text(event["kind"]) for event in told(supervisor, "event")]
    assert kinds == ["state", "fault", "fault_again", "fault", "fault_again", "fault_again"]
    again = [record for record in caplog.records if record.getMessage().startswith("on top of a fault: ")]
    assert [record.fields["fault"] for record in again] == ["motor_lost", "estop", "link_lost"]
