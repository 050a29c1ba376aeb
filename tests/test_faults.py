"""The fault table: a row for every code, words for an operator, numbers that never change."""

import pytest

from controller.config import load, shipped
from controller.faults import FAULTS, FaultCode
from controller.processes import table

VALUES = {
    "NONE": 0, "ESTOP": 1, "LEASE_LOST": 3,
    "CONTROL_LOST": 10, "MOTOR_LOST": 11, "CAMERA_LOST": 12, "LINK_LOST": 13, "GUARD_LOST": 14,
    "POLICY_LOST": 20, "POLICY_REFUSED": 21, "ANSWER_INVALID": 22, "PLAN_ENDED": 23, "CAMERA_STALE": 24,
    "OBSERVATION_SPREAD": 25, "CAMERA_FROZEN": 26, "CAMERA_DARK": 27, "CAMERA_TIME": 28, "POLICY_STUCK": 29,
    "COMMAND_STALE": 30, "COMMAND_REFUSED": 31, "TRACKING": 32, "START_MISMATCH": 33, "HOMING_TIMEOUT": 34,
    "ROBOT_ERROR": 35, "JOINTS_FROZEN": 36, "JOINTS_TIME": 37, "CONTACT": 38, "COLLISION_AHEAD": 39,
    "JOINTS_INVALID": 40,
}  # fmt: skip
"""As written to recordings: add rows here, never change one."""


def test_values_are_those_in_old_recordings():
    assert {code.name: code.value for code in FaultCode} == VALUES
    assert max(FaultCode) < 2**16  # two bytes in shared memory


def test_every_code_has_a_row():
    assert set(FAULTS) == set(FaultCode) - {FaultCode.NONE}


@pytest.mark.parametrize("code", FAULTS)
def test_every_row_says_what_why_and_what_next(code):
    fault = FAULTS[code]
    for text in (fault.title, fault.cause, fault.next_step):
        assert text
        assert text == text.strip()
        assert not text.endswith(".")
    assert "reset" in fault.next_step
    assert len({other.title for other in FAULTS.values()}) == len(FAULTS)


def test_the_loss_of_a_process_is_a_fault_of_the_table():
    rows = table(load(shipped("sim")))
    assert {row.loss for row in rows} - {None} <= set(FAULTS)
    assert {row.name for row in rows if row.loss is None} == {"recorder"}
