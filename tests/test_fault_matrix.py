"""The fault matrix is complete, its bounds are numbers, and each of its cases is raised by a test at its cause."""

import ast
from pathlib import Path

import pytest

from controller.config import load, shipped
from controller.fault_matrix import FAULTING, MATRIX, TERMS, Reaction, bound_s, trips
from controller.faults import FaultCode
from controller.processes import table
from controller.states import State

TESTS = Path(__file__).parent
SIM = load(shipped("sim"))
STATES = [State.IDLE, State.HOMING, State.RUNNING]
CASES = {
    (code.name.lower(), state.value) for code, row in MATRIX.items() for state in STATES if row.at(state) is not None
}


def marked():
    """(code, state) of every `raises_fault` mark in the tests, with the test that has it."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.raises_fault":
                    code, *states = (ast.literal_eval(argument) for argument in call.args)
                    for state in states:
                        found.setdefault((code, state), []).append(f"{path.name}::{node.name}")
    return found


def test_every_case_is_raised_by_a_test_and_no_test_raises_what_cannot_happen():
    raised = set(marked())
    assert CASES - raised == set(), "cases without a test"
    assert raised - CASES == set(), "marks that are no case of the matrix"


def test_every_code_has_a_row():
    assert set(MATRIX) == set(FaultCode) - {FaultCode.NONE}


@pytest.mark.parametrize("code", MATRIX)
def test_a_row_that_brakes_says_within_which_time(code):
    row = MATRIX[code]
    brakes = Reaction.BRAKE in (row.idle, row.homing, row.running)
    assert bool(row.within) is brakes
    assert set(row.within) <= set(TERMS)
    time_s = bound_s(code, SIM, 1.0)
    assert time_s is None if not brakes else time_s > 0.0


@pytest.mark.parametrize("code", MATRIX)
def test_nothing_is_braked_at_rest_and_nothing_trips_in_a_fault(code):
    row = MATRIX[code]
    assert row.idle not in (Reaction.BRAKE, Reaction.STAND, Reaction.TOLD)
    assert Reaction.REFUSED not in (row.homing, row.running)
    assert row.running is None or row.running in FAULTING, "a run goes on nothing that is wrong"
    assert not trips(code, State.FAULT)


def test_every_term_is_used_and_follows_the_configuration():
    assert {term for row in MATRIX.values() for term in row.within} == set(TERMS)
    slower = SIM.model_copy(update={"daemon": SIM.daemon.model_copy(update={"lease_s": 0.5})})
    assert bound_s(FaultCode.LEASE_LOST, slower, 0.0) == pytest.approx(
        bound_s(FaultCode.LEASE_LOST, SIM, 0.0) + 0.5 - SIM.daemon.lease_s
    )


def test_the_arms_are_looked_after_in_every_state_or_that_is_a_fault():
    losses = {row.name: row.loss for row in table(SIM)}
    for name in ("motor", "control"):
        assert all(trips(losses[name], state) for state in STATES)
