import numpy as np
import pytest
from synthetic import MOTION_ID, MOTOR_NS, T0_NS, handed, joints, recording, sim_config, ticks

from controller.demo.host import CpuTime
from controller.demo.report import as_text, percentiles, safety, timing, verdict
from controller.follower import Mode
from controller.limits import commands, largest_step, violations
from controller.states import State

LIMITS = sim_config().robot.limits


def test_percentiles_are_values_that_occurred():
    assert percentiles(range(1, 101), 0.5, 0.95, 0.99, 0.999) == {"p50": 50, "p95": 95, "p99": 99, "p999": 100}
    assert percentiles([3.0], 0.5, 0.999) == {"p50": 3.0, "p999": 3.0}
    assert percentiles([], 0.5) == {"p50": None}


def test_tick_numbers_by_hand(tmp_path):
    rows = ticks([50_000] * 97 + [100_000, 200_000, 25_000_000])
    rows["missed"][-1] = 1
    rows["stalled"][5:8] = 1
    found = timing([recording(tmp_path / "a", ticks=rows)])
    assert found["ticks"] == 100
    assert found["missed_deadlines"] == 1
    assert found["stall_ticks"] == 3
    assert found["tick_lateness_us"] == {"p50": 50.0, "p99": 200.0, "p999": 25_000.0, "max": 25_000.0}


def test_steps_that_a_chunk_woke_and_rows_of_other_motions_do_not_count(tmp_path):
    rows = ticks([10_000, 20_000, 30_000, 40_000, 50_000])
    rows["woken"][1] = 1
    rows["motion_id"][2] = MOTION_ID - 1
    rows["state"][3] = State.HOMING.code
    found = timing([recording(tmp_path / "a", ticks=rows)])
    assert found["ticks"] == 2
    assert found["tick_lateness_us"]["max"] == 50.0


def test_chunk_delays_by_hand_over_two_runs(tmp_path):
    first = recording(tmp_path / "a", handed=handed(10))
    second = recording(tmp_path / "b", handed=handed(10))
    found = timing([first, second])
    assert found["chunks"] == 20
    assert found["inference_ms"] == {"p50": 29.0, "p95": 34.0, "p99": 34.0}
    assert found["round_trip_ms"] == {"p50": 34.0, "p95": 39.0, "p99": 39.0}
    assert found["end_to_end_ms"] == {"p50": 38.0, "p95": 43.0, "p99": 43.0}
    assert found["observation_age_ms"] == {"p50": 39.0, "p95": 44.0, "p99": 44.0}


def test_without_any_run_nothing_is_made_up():
    found = timing([])
    assert found["ticks"] == found["chunks"] == 0
    assert found["tick_lateness_us"] == {"p50": None, "p99": None, "p999": None, "max": None}


def test_gentle_motion_breaks_no_limit():
    assert violations(joints(), LIMITS) == []


def test_motion_right_at_the_limits_breaks_none():
    """Full acceleration to full speed and back, sampled at the motor's uneven instants."""
    rows = joints(300)
    rng = np.random.default_rng(0)
    rows["t_command_ns"] += rng.integers(0, 2_000_000, len(rows))
    t_s = (rows["t_command_ns"] - T0_NS) * 1e-9
    v, a = LIMITS.velocity[0], LIMITS.acceleration[0]
    ramp_s = v / a
    rows["q_command"][:, 1:] = rows["q_command"][0, 1:]
    rows["q_command"][:, 0] = -1.0 + np.where(
        t_s < ramp_s, 0.5 * a * t_s**2, 0.5 * a * ramp_s**2 + v * np.minimum(t_s - ramp_s, 0.5)
    )
    after_s = np.maximum(t_s - ramp_s - 0.5, 0.0)
    rows["q_command"][:, 0] += np.where(after_s < ramp_s, v * after_s - 0.5 * a * after_s**2, 0.5 * v * ramp_s)
    assert violations(rows, LIMITS) == []


@pytest.mark.parametrize(("value", "what"), [(2.0, "position above"), (-2.0, "position below")])
def test_a_position_beyond_its_limit_is_found(value, what):
    rows = joints()
    rows["q_command"][:, 3] = value
    found = violations(rows, LIMITS)
    assert len(found) == len(rows)
    assert {(v.what, v.joint, v.value) for v in found} == {(what, "left_joint_3", value)}


def test_a_velocity_beyond_its_limit_is_found_and_measured():
    rows = joints()
    speed = 1.1 * LIMITS.velocity[0]
    rows["q_command"][:, 7] = -1.5 + speed * (rows["t_command_ns"] - T0_NS) * 1e-9
    rows = rows[:150]
    found = violations(rows, LIMITS)
    assert len(found) == len(rows) - 1
    assert {(v.what, v.joint) for v in found} == {("velocity", "right_joint_0")}
    assert found[0].value == pytest.approx(speed)


def test_an_acceleration_beyond_its_limit_is_found_though_speed_and_place_are_fine():
    rows = joints()
    rows["q_command"][:, 0] = 0.0
    step = 1.2 * LIMITS.acceleration[0] * (MOTOR_NS * 1e-9) ** 2
    rows["q_command"][200:, 0] = step
    found = violations(rows, LIMITS)
    assert [(v.what, v.joint) for v in found] == [("acceleration", "left_joint_0")] * 2
    assert found[0].t_ns == rows["t_command_ns"][200]
    assert found[0].value == pytest.approx(1.2 * LIMITS.acceleration[0])


def test_braking_has_its_own_limits():
    rows = joints(40)
    between = 0.5 * (LIMITS.velocity[0] + LIMITS.brake.velocity[0])
    rows["q_command"][:, 0] = between * (rows["t_command_ns"] - T0_NS) * 1e-9
    assert len(violations(rows, LIMITS)) == 39
    rows["mode"] = Mode.BRAKE
    assert violations(rows, LIMITS) == []
    rows["q_command"][:, 0] *= 1.5
    assert {v.what for v in violations(rows, LIMITS)} == {"velocity"}


def test_a_command_that_is_not_a_number_is_found():
    rows = joints(10)
    rows["q_command"][4, 2] = np.nan
    assert [v.what for v in violations(rows, LIMITS)] == ["position is not a number"]


def test_two_different_commands_at_one_instant_are_infinitely_fast():
    rows = joints(10)
    rows["t_command_ns"][5] = rows["t_command_ns"][4]
    assert "velocity" in {v.what for v in violations(rows, LIMITS)}


def test_readings_without_a_new_command_count_once():
    rows = joints(10)
    rows["t_command_ns"][:3] = 0
    rows[6] = rows[5]
    assert len(commands(rows)) == 6


def test_the_largest_step_is_told_apart_for_arms_and_grippers():
    rows = joints(3)
    rows["q_command"] = 0.0
    rows["q_command"][1:, 9] = 0.25
    rows["q_command"][2, 13] = 0.002
    assert largest_step(rows) == (0.25, 0.002)


def test_what_two_recordings_both_show_counts_once(tmp_path):
    rows = joints()
    rows["q_command"][150:, 0] += 0.01
    first, second = recording(tmp_path / "a", joints=rows[:300]), recording(tmp_path / "b", joints=rows[100:])
    alone = safety([first], refused=0)["limit_violations"]
    assert alone > 0
    assert safety([first, second], refused=0)["limit_violations"] == alone


def test_refused_commands_count_as_violations(tmp_path):
    found = safety([recording(tmp_path / "a", joints=joints())], refused=2)
    assert found["limit_violations"] == 2
    assert found["limit_check"]["recorded_commands_beyond_a_limit"] == 0


def full_report(directory, reason="", refused=0):
    run = recording(directory, ticks=ticks([50_000] * 10), joints=joints(), handed=handed())
    return {
        "prompt": "put it there", "note": None, "duration_s": 2.0,
        "episodes": 1, "episodes_succeeded": 0 if reason else 1,
        "episode_results": [{"seed": 0, "reason": reason}],
        "recording": {"dropped": 3},
        "run_options": {
            "asked": {"seam": "rtc"}, "played": {"seam": "blend", "speed": 0.5, "dry": False, "execution_horizon": 9},
        },
        "host": {
            "cpu": "a cpu", "cores": 2, "busy_percent": 50.0, "steal_percent": 1.0, "realtime": {"motor": "fifo 30"},
        },
        **timing([run]), **safety([run], refused),
    }  # fmt: skip


def test_a_good_demo_has_no_reason_to_fail(tmp_path):
    assert verdict(full_report(tmp_path / "a")) == []


def test_each_kind_of_failure_is_a_sentence(tmp_path):
    assert verdict(full_report(tmp_path / "a", reason="it fell")) == ["episode 1: it fell"]
    assert verdict(full_report(tmp_path / "b", refused=1)) == ["1 commands broke a limit"]
    report = full_report(tmp_path / "c") | {"episodes": 2}
    assert verdict(report) == ["1 of 2 episodes were played"]
    assert verdict(full_report(tmp_path / "d") | {"ticks": 0}) == ["no tick of a run was recorded"]
    assert verdict(full_report(tmp_path / "e") | {"chunks": 0}) == ["no chunk of actions was executed"]


def test_the_text_has_the_numbers_and_the_definition(tmp_path):
    text = as_text(full_report(tmp_path / "a"))
    assert "1 of 1 episodes" in text
    assert "p50 38.0  p95 43.0  p99 43.0 ms  (frame in host memory -> first command" in text
    assert "0 violations" in text
    assert "3 rows dropped" in text
    assert "motor: fifo 30" in text
    assert "seam blend INSTEAD OF rtc, speed 0.5, execution horizon 9 steps" in text


def test_what_a_motion_is_worth_is_said(tmp_path):
    report = full_report(tmp_path / "a")
    assert as_text(report).startswith('task        "put it there": 1 of 1 episodes\n')
    text = as_text(report | {"note": "it means nothing"})
    assert text.startswith("task        none (it means nothing); followed to the end: 1 of 1 episodes\n")


def test_processor_time_by_hand(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  10 0 10 70 5 0 0 5 0 0\ncpu0 1 2 3\n")
    before = CpuTime.now(stat)
    stat.write_text("cpu  40 0 30 110 5 0 0 15 0 0\n")
    assert CpuTime.now(stat).since(before) == {"busy_percent": 50.0, "steal_percent": 10.0}
    assert before.since(before) == {"busy_percent": None, "steal_percent": None}
