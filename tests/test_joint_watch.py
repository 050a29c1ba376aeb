"""Joint readings that cannot be believed, on a fake clock."""

import numpy as np
import pytest

from controller.faults import FaultCode
from controller.joint_watch import FROZEN_S, MOVED, QUARANTINE_S, JointWatch
from controller.robots.base import N_JOINTS, JointState

TICK_NS = 5_000_000
N_TICKS = round(FROZEN_S * 1e9) // TICK_NS


def state(t_ns, q=0.0, qd=0.0, effort=0.0):
    return JointState(t_ns, *(np.full(N_JOINTS, value) for value in (q, qd, effort)))


def command(value, joint=3):
    q = np.zeros(N_JOINTS)
    q[joint] = value
    return q


def moving(tick):
    """A command of 1 rad/s."""
    return command(tick * TICK_NS * 1e-9)


def alarms(readings, commands=moving):
    watch = JointWatch()
    return [watch.look(tick * TICK_NS, reading, commands(tick)) for tick, reading in enumerate(readings, start=1)]


def first(found):
    """Tick and code of the first alarm."""
    return next(((tick, alarm[0]) for tick, alarm in enumerate(found, start=1) if alarm), None)


@pytest.mark.parametrize("what", ["q", "qd", "effort"])
def test_readings_of_which_anything_changes_are_believed(what):
    assert first(alarms(state(tick * TICK_NS, **{what: tick * 1e-9}) for tick in range(1, 200))) is None


def test_arms_at_rest_may_read_the_same_for_ever():
    assert first(alarms((state(tick * TICK_NS) for tick in range(1, 2000)), commands=lambda _: command(0.5))) is None


def test_readings_that_stay_the_same_while_the_command_moves_are_frozen():
    found = alarms(state(tick * TICK_NS) for tick in range(1, 60))
    assert first(found) == (N_TICKS + 1, FaultCode.JOINTS_FROZEN)
    assert found[N_TICKS][1] == (
        "the same reading of that arm to the bit for 100 ms (bound 100 ms) while the command of left_joint_3 "
        f"went 0.1000 (bound {MOVED:g})"
    )


@pytest.mark.parametrize(("joint", "alarmed"), [(3, True), (10, False)])
def test_an_arm_that_stays_the_same_is_not_covered_up_by_the_other(joint, alarmed):
    def one_sided(tick):
        reading = state(tick * TICK_NS)
        reading.q[7:] = tick * 1e-9
        return reading

    found = first(alarms(map(one_sided, range(1, 60)), lambda tick: command(tick * TICK_NS * 1e-9, joint)))
    assert found == ((N_TICKS + 1, FaultCode.JOINTS_FROZEN) if alarmed else None)


def test_frozen_readings_are_found_when_the_command_begins_to_move_after_a_long_rest():
    found = alarms((state(tick * TICK_NS) for tick in range(1, 300)), lambda tick: command(max(tick - 250, 0) * 0.004))
    assert first(found) == (250 + N_TICKS, FaultCode.JOINTS_FROZEN)  # a driver may take a moment to see it move


def test_a_hold_that_is_set_to_where_the_arms_are_is_no_motion():
    watch = JointWatch()
    for tick in range(1, 50):
        assert watch.look(tick * TICK_NS, state(tick * TICK_NS), command(0.0)) is None
    watch.rebase(50 * TICK_NS, command(0.3))
    for tick in range(50, 150):
        assert watch.look(tick * TICK_NS, state(tick * TICK_NS), command(0.3)) is None


def test_an_alarm_ends_when_the_readings_go_on():
    frozen = [state(tick * TICK_NS) for tick in range(1, 40)]
    found = alarms([*frozen, state(40 * TICK_NS, q=0.1)])
    assert found[38] is not None
    assert found[39] is None


def test_readings_that_get_no_newer_are_frozen_even_if_they_change():
    found = alarms(state(77, q=tick) for tick in range(1, 60))
    assert first(found) == (N_TICKS + 1, FaultCode.JOINTS_FROZEN)
    assert "no newer reading" in found[N_TICKS][1]


def test_a_reading_stamped_before_the_one_before_it_is_not_believed_for_a_while():
    watch = JointWatch()
    assert watch.look(1, state(5_000_000), command(0.0)) is None
    code, text = watch.look(2, state(3_000_000, q=1.0), command(0.0))
    assert code is FaultCode.JOINTS_TIME
    assert text == "a reading is stamped 2.0 ms before the one that came before it"
    end_ns = 2 + round(QUARANTINE_S * 1e9)
    assert watch.look(end_ns - 1, state(6_000_000, q=2.0), command(0.0)) == (code, text)
    assert watch.look(end_ns, state(7_000_000, q=3.0), command(0.0)) is None
    assert watch.alarm is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", ["q", "qd"])
def test_a_reading_that_is_no_number_is_named(what, value):
    reading = state(1)
    getattr(reading, what)[8] = value
    code, text = JointWatch().look(1, reading, command(0.0))
    assert code is FaultCode.JOINTS_INVALID
    assert text == f"right_joint_1: measured {'position' if what == 'q' else 'velocity'} {value} is not finite"
