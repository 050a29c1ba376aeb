"""The state table: every pair of state and trigger, every guard, every refusal."""

from itertools import product

import pytest

from controller.refused import Refused
from controller.states import MOVING, OPERATOR, TRANSITIONS, Facts, State, StateMachine, Trigger, mermaid

GOOD = Facts(at_rest=True)
ALLOWED = {
    (State.IDLE, Trigger.HOME): State.HOMING,
    (State.IDLE, Trigger.JOG): State.HOMING,
    (State.HOMING, Trigger.ARRIVED): State.IDLE,
    (State.IDLE, Trigger.RUN): State.RUNNING,
    (State.HOMING, Trigger.STOP): State.IDLE,
    (State.RUNNING, Trigger.STOP): State.IDLE,
    (State.IDLE, Trigger.TRIP): State.FAULT,
    (State.HOMING, Trigger.TRIP): State.FAULT,
    (State.RUNNING, Trigger.TRIP): State.FAULT,
    (State.FAULT, Trigger.RESET): State.IDLE,
}
WAYS = {
    State.IDLE: (),
    State.HOMING: (Trigger.HOME,),
    State.RUNNING: (Trigger.HOME, Trigger.ARRIVED, Trigger.RUN),
    State.FAULT: (Trigger.TRIP,),
}


def machine_in(state, homed=False):
    changes = []
    machine = StateMachine(lambda *change: changes.append(change))
    if homed and state is State.IDLE:
        machine.fire(Trigger.HOME, GOOD)
        machine.fire(Trigger.ARRIVED, GOOD)
    for trigger in WAYS[state]:
        machine.fire(trigger, GOOD)
    changes.clear()
    assert machine.state is state
    return machine, changes


@pytest.mark.parametrize(("state", "trigger"), list(product(State, Trigger)))
def test_every_pair_of_state_and_trigger(state, trigger):
    machine, changes = machine_in(state, homed=True)
    if (state, trigger) in ALLOWED:
        machine.fire(trigger, GOOD)
        assert machine.state is ALLOWED[state, trigger]
        assert changes == [(state, trigger, machine.state)]
    else:
        with pytest.raises(Refused, match=f"{trigger.value} is not possible in state {state.value}"):
            machine.fire(trigger, GOOD)
        assert machine.state is state
        assert changes == []


@pytest.mark.parametrize(
    ("state", "trigger", "facts", "reason"),
    [
        (State.IDLE, Trigger.HOME, Facts(at_rest=False), "the arms are still braking"),
        (State.IDLE, Trigger.HOME, Facts(True, robot_missing="not ready: motor"), "not ready: motor"),
        (State.IDLE, Trigger.RUN, Facts(at_rest=False), "the arms are still braking"),
        (State.IDLE, Trigger.RUN, Facts(True, robot_missing="not ready: motor"), "not ready: motor"),
        (State.IDLE, Trigger.RUN, Facts(True, run_missing="no policy server"), "no policy server"),
        (State.FAULT, Trigger.RESET, Facts(at_rest=False), "the arms are still braking"),
        (State.FAULT, Trigger.RESET, Facts(True, robot_missing="not ready: control"), "not ready: control"),
    ],
)
def test_a_guard_refuses_with_its_reason_and_changes_nothing(state, trigger, facts, reason):
    machine, changes = machine_in(state, homed=True)
    with pytest.raises(Refused) as refused:
        machine.fire(trigger, facts)
    assert refused.value.reason == reason
    assert trigger.value not in refused.value.allowed
    assert machine.state is state
    assert changes == []


def test_run_needs_home_first():
    machine, _ = machine_in(State.IDLE)
    with pytest.raises(Refused) as refused:
        machine.fire(Trigger.RUN, GOOD)
    assert refused.value.reason == "not homed; home first"
    assert refused.value.allowed == ["home", "jog"]


@pytest.mark.parametrize("homed", [False, True])
@pytest.mark.parametrize("ending", [Trigger.ARRIVED, Trigger.STOP])
def test_after_a_jog_the_arms_are_not_homed_and_a_home_makes_them_so(homed, ending):
    machine, _ = machine_in(State.IDLE, homed)
    machine.fire(Trigger.JOG, GOOD)
    assert (machine.state, machine.homed) == (State.HOMING, False)
    machine.fire(ending)
    assert (machine.state, machine.homed) == (State.IDLE, False)
    machine.fire(Trigger.HOME, GOOD)
    machine.fire(Trigger.ARRIVED)
    assert machine.homed


@pytest.mark.parametrize("homed", [False, True])
def test_a_dry_run_needs_no_home_and_leaves_it_as_it_was(homed):
    machine, _ = machine_in(State.IDLE, homed)
    machine.fire(Trigger.RUN, Facts(at_rest=True, dry=True))
    assert machine.state is State.RUNNING
    machine.fire(Trigger.STOP)
    assert machine.homed is homed


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(at_rest=False, dry=True), "the arms are still braking"),
        (Facts(True, robot_missing="not ready: motor", dry=True), "not ready: motor"),
        (Facts(True, run_missing="no policy server", dry=True), "no policy server"),
    ],
)
def test_a_dry_run_needs_everything_else(facts, reason):
    machine, changes = machine_in(State.IDLE)
    with pytest.raises(Refused) as refused:
        machine.fire(Trigger.RUN, facts)
    assert refused.value.reason == reason
    assert changes == []


@pytest.mark.parametrize("state", State)
def test_a_trip_or_a_stop_asks_for_nothing(state):
    """Motion can always be ended, whatever is missing."""
    worst = Facts(at_rest=False, robot_missing="motor", run_missing="link")
    machine, _ = machine_in(state)
    for trigger in (Trigger.STOP, Trigger.TRIP):
        if (state, trigger) in ALLOWED:
            assert machine.refusal(trigger, worst) == ""


def test_allowed_lists_what_an_operator_may_do_now():
    assert machine_in(State.IDLE, homed=True)[0].allowed(GOOD) == ["home", "jog", "run"]
    assert machine_in(State.HOMING)[0].allowed(GOOD) == ["stop"]
    assert machine_in(State.RUNNING)[0].allowed(GOOD) == ["stop"]
    assert machine_in(State.FAULT)[0].allowed(GOOD) == ["reset"]
    assert machine_in(State.FAULT)[0].allowed(Facts(at_rest=False)) == []
    assert set(OPERATOR) == {Trigger.HOME, Trigger.JOG, Trigger.RUN, Trigger.STOP, Trigger.RESET}


def test_homed_comes_with_arrival_and_goes_with_a_fault():
    machine, _ = machine_in(State.IDLE)
    assert not machine.homed
    machine.fire(Trigger.HOME, GOOD)
    machine.fire(Trigger.STOP, GOOD)
    assert not machine.homed
    machine.fire(Trigger.HOME, GOOD)
    machine.fire(Trigger.ARRIVED, GOOD)
    assert machine.homed
    machine.fire(Trigger.RUN, GOOD)
    machine.fire(Trigger.STOP, GOOD)
    assert machine.homed
    machine.fire(Trigger.TRIP, GOOD)
    assert not machine.homed
    machine.fire(Trigger.RESET, GOOD)
    assert not machine.homed


def test_nothing_leads_from_fault_to_motion():
    assert {after for _, before, after, _ in TRANSITIONS if before is State.FAULT} == {State.IDLE}


def test_a_fault_can_be_raised_in_every_other_state():
    tripped = {before for trigger, before, _, _ in TRANSITIONS if trigger is Trigger.TRIP}
    assert tripped == set(State) - {State.FAULT}


def test_codes_are_stable_and_only_homing_and_running_move():
    assert [(state.value, state.code) for state in State] == [("idle", 0), ("homing", 1), ("running", 2), ("fault", 3)]
    assert {1, 2} == MOVING


def test_the_diagram_has_one_edge_per_pair_of_states():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    homing --> idle: arrived | stop" in lines
    assert len(lines) == 2 + len({(before, after) for _, before, after, _ in TRANSITIONS})
