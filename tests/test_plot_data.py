"""What the plot shows, worked out from recordings made up for it."""

import json

import numpy as np
import pytest
from synthetic import MOTION_ID, MOTOR_NS, T0_NS, TICK_NS, chunks, joints, recording, ticks, write_dump, write_recording

from controller.follower import Mode
from controller.planner import Phase
from controller.plot_data import (
    apart,
    braking,
    commands_shown,
    joint_shown,
    parts_of_limits,
    plans,
    ramping,
    ticks_shown,
    zero_ns,
)
from controller.recording import META, Recording
from controller.states import State

S = 1_000_000_000


def played(tau_s: list[float], speed: float = 1.0) -> np.ndarray:
    """A tick of a run every 20 ms, at each the policy's own time."""
    rows = ticks([0] * len(tau_s))
    rows["tau_ns"], rows["speed"] = np.array(tau_s) * 1e9, speed
    return rows


def test_a_fault_is_the_plots_zero_and_else_the_first_tick_of_the_run_or_the_beginning(tmp_path):
    late = ticks([5] * 3)
    late["deadline_ns"] += 7
    assert zero_ns(Recording.load(write_dump(tmp_path, "tracking", 2.0, ticks=late))) == T0_NS + 2 * S
    assert zero_ns(recording(tmp_path / "run", ticks=late)) == T0_NS + 7
    assert zero_ns(recording(tmp_path / "none")) == T0_NS


def test_of_a_run_its_own_ticks_are_shown_and_of_a_dump_all_but_the_woken(tmp_path):
    rows = ticks([0, 1, 2, 3])
    rows["motion_id"][0] = MOTION_ID - 1
    rows["woken"][1] = 1
    assert len(ticks_shown(recording(tmp_path / "run", ticks=rows))) == 2
    assert len(ticks_shown(Recording.load(write_dump(tmp_path, "estop", ticks=rows)))) == 3


def test_the_joint_shown_is_the_one_that_the_fault_names_or_that_moved_most(tmp_path):
    rows = joints()
    rows["q_command"][:, 9] *= 1.5
    rows["q_command"][:, 6] = np.arange(len(rows))  # a gripper
    rows["motion_id"][0], rows["q_command"][0, 3] = MOTION_ID - 1, 100.0
    message = "tracking error: right_joint_1 is 0.5 from its command"
    assert joint_shown(Recording.load(write_dump(tmp_path, "tracking", 1.0, message, joints=rows))) == (8, True)
    assert joint_shown(recording(tmp_path / "run", joints=rows)) == (9, False)
    assert joint_shown(recording(tmp_path / "empty")) == (0, False)


def test_of_a_dry_run_the_command_shown_is_what_control_would_have_sent(tmp_path):
    held = joints()
    held["q_command"] = held["q_command"][0]
    moved = joints(160)[::4]
    rows = ticks([0] * 40)
    rows["dry"][5:], rows["q1"] = 1, moved["q_command"]
    run = recording(tmp_path / "run", joints=held, ticks=rows, chunks=chunks())
    t_ns, q = commands_shown(run)
    command_ns = round(run.config.control.command_s * 1e9)
    np.testing.assert_array_equal(t_ns, moved["t_command_ns"] + command_ns)
    np.testing.assert_array_equal(q, moved["q_command"])
    assert joint_shown(run) == (int(np.argmax(np.ptp(moved["q_command"], axis=0))), False)
    rows["dry"] = 0
    wet = recording(tmp_path / "wet", joints=held, ticks=rows)
    np.testing.assert_array_equal(commands_shown(wet)[1], held["q_command"])


def test_plans_without_a_policys_time_lie_in_real_time_and_on_the_command_they_became(tmp_path):
    run = recording(tmp_path / "run", joints=joints(), chunks=chunks(), ticks=ticks([0] * 10))
    drawn = plans(run)
    assert [plan.t_ns[0] for plan in drawn] == chunks()["t_observation_ns"].tolist()
    assert (np.diff(drawn[3].t_ns) == 20_000_000).all()
    for t_ns, away in apart(run, drawn, 2):
        assert (t_ns <= run.joints["t_command_ns"][-1]).all()
        np.testing.assert_allclose(away, 0.0, atol=1e-12)


def test_plans_of_a_run_at_half_speed_take_twice_the_time(tmp_path):
    run = recording(tmp_path / "run", chunks=chunks(2), ticks=played([0.01 * i for i in range(50)], speed=0.5))
    first, second = plans(run)
    assert (first.t_ns[0], second.t_ns[0]) == (T0_NS, T0_NS + S // 10)
    np.testing.assert_allclose(np.diff(first.t_ns), 40_000_000, atol=10)  # also behind the last tick


def test_plans_made_during_the_ramp_begin_where_it_ends(tmp_path):
    run = recording(tmp_path / "run", chunks=chunks(3), ticks=played([0.0] * 26 + [0.02 * i for i in range(1, 40)]))
    ends_ns = T0_NS + 25 * TICK_NS
    assert [plan.t_ns[0] for plan in plans(run)] == [ends_ns] * 3
    np.testing.assert_allclose(plans(run)[0].t_ns, ends_ns + 20_000_000 * np.arange(50), atol=10)


def test_a_plan_made_after_the_last_tick_goes_on_from_there(tmp_path):
    late = chunks(1)
    late["t_observation_ns"] = T0_NS + S
    run = recording(tmp_path / "run", chunks=late, ticks=played([0.02 * i for i in range(11)]))
    np.testing.assert_allclose(plans(run)[0].t_ns, T0_NS + S + 20_000_000 * np.arange(50), atol=10)


def test_contact_is_shown_where_it_is_bounded_and_known(tmp_path):
    def shown(name, effort, contact):
        rows = joints()
        rows["external_effort"] = effort
        directory = write_recording(tmp_path / name, joints=rows)
        meta = json.loads((directory / META).read_text())
        meta["config"]["robot"]["limits"]["contact"] = contact
        (directory / META).write_text(json.dumps(meta))
        return {rate.what: np.abs(rate.values) / rate.bounds for rate in parts_of_limits(Recording.load(directory))}

    assert set(shown("unbounded", 2.0, None)) == {"velocity", "acceleration"}
    assert set(shown("unknown", np.nan, [8.0] * 7)) == {"velocity", "acceleration"}
    assert (shown("both", 2.0, [8.0] * 7)["external effort"] == 0.25).all()


def test_the_largest_part_of_a_limit_is_of_the_motion_that_was_made(tmp_path):
    run = recording(tmp_path / "run", joints=joints())
    velocity, acceleration, *_ = parts_of_limits(run)
    limits = run.config.robot.limits
    assert np.nanmax(np.abs(velocity.values[:, 0])) == pytest.approx(0.6, rel=1e-3)
    assert np.nanmax(np.abs(acceleration.values[:, 0])) == pytest.approx(1.2, rel=1e-3)
    assert velocity.bounds[0, 0] == limits.velocity[0]
    assert acceleration.bounds[0, 0] == limits.acceleration[0]


def test_braking_and_the_ramp_are_spans_of_time(tmp_path):
    rows = joints(100)
    rows["mode"][40:60] = Mode.BRAKE
    rows["mode"][90:] = Mode.BRAKE
    led = ticks([0] * 20)
    led["phase"][:5] = Phase.RAMP
    run = recording(tmp_path / "run", joints=rows, ticks=led)
    at = rows["t_command_ns"]
    assert braking(run) == [(at[40], at[60]), (at[90], at[99])]
    assert at[60] - at[40] == 20 * MOTOR_NS
    assert ramping(run) == [(led["t_ns"][0], led["t_ns"][5])]
    led["state"] = State.HOMING.code
    assert ramping(recording(tmp_path / "home", ticks=led)) == []
    assert braking(recording(tmp_path / "empty")) == []
