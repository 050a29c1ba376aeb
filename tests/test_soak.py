"""What a soak judges with, on motions made up for it; and which faults it expects of what."""

from itertools import islice

import numpy as np
import pytest

from bench import soak_judge as judge
from bench.footprint import Footprint
from bench.soak import lasting, main
from bench.soak_plan import DISTURBANCES, SPARING, Deed, episodes
from bench.soak_report import HOST_STALL_S, Outcome, as_result, as_text, document, explained_by_host, must_be_none
from controller import layout
from controller.config import load, shipped
from controller.faults import FaultCode
from controller.follower import Mode
from controller.limits import Violation
from controller.run_options import Seam
from controller.states import State

CONFIG = load(shipped("sim"))
TICK_NS = 5_000_000
HOME = np.array([0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.02] * 2)


def motion(count=200, size=0.3, period_s=2.0):
    """Joint 0 of the left arm to and fro, followed."""
    rows = np.zeros(count, layout.JOINTS)
    t_s = np.arange(count) * TICK_NS * 1e-9
    rows["t_command_ns"] = 1_000_000_000 + np.arange(count) * TICK_NS
    rows["q_command"], rows["mode"] = HOME, Mode.FOLLOW
    w = 2 * np.pi / period_s
    rows["q_command"][:, 0] += size * (1.0 - np.cos(w * t_s))
    rows["qd_command"][:, 0] = size * w * np.sin(w * t_s)
    rows["q"] = rows["q_command"]
    return rows


def braked(rows, at):
    """From a row on the arms brake, for ten ticks, and hold."""
    rows["mode"][at:], rows["mode"][at + 10 :] = Mode.BRAKE, Mode.HOLD
    return rows


def test_a_smooth_motion_is_found_to_be_one():
    assert judge.steps(motion(), CONFIG) == []
    assert judge.beyond_limits(motion(), CONFIG) == []


@pytest.mark.parametrize("step", [0.005, -0.005, np.nan])
def test_a_step_of_position_is_found(step):
    rows = motion()
    rows["q_command"][100:, 3] += step
    found = judge.steps(rows, CONFIG)
    assert {one.what for one in found} == {"position"}
    assert found[0].t_ns == rows["t_command_ns"][100]


def test_a_step_of_velocity_is_found():
    rows = motion()
    rows["qd_command"][100:, 0] += 0.2
    assert {one.what for one in judge.steps(rows, CONFIG)} == {"velocity"}


def test_arms_that_brake_may_change_their_velocity_faster():
    rows = motion()
    rows["qd_command"][100, 0] += 0.1
    assert judge.steps(rows, CONFIG)
    rows["mode"][100] = Mode.BRAKE
    assert judge.steps(rows, CONFIG) == []


def test_a_motion_beyond_the_limits_is_found():
    fast = motion(size=1.0, period_s=1.0)
    assert {"velocity", "acceleration"} <= {one.what for one in judge.beyond_limits(fast, CONFIG)}


def with_gap(rows, at=100, gap_ns=300_000_000):
    """The motor process stood still before this row."""
    rows["t_command_ns"][at:] += gap_ns
    rows["q_command"][at:], rows["qd_command"][at:] = rows["q_command"][at - 1], 0.0
    rows["q"][at:], rows["mode"][at:] = rows["q_command"][at - 1], Mode.HOLD
    return rows


def test_after_a_gap_arms_at_rest_where_they_were_are_no_step():
    rows = with_gap(motion())
    assert judge.steps(rows, CONFIG) == []
    assert judge.beyond_limits(rows, CONFIG) == []
    assert judge.longest_gap_s(rows) == pytest.approx(0.305)


def test_a_gap_is_what_the_motor_process_takes_for_one():
    late = motion(size=0.1)
    late["t_command_ns"][100:] += 79_000_000 - TICK_NS
    moving = {"velocity after a gap"}
    assert not moving & {one.what for one in judge.steps(late, CONFIG)}
    late["t_command_ns"][100:] += 2_000_000
    assert moving <= {one.what for one in judge.steps(late, CONFIG)}


def test_after_a_gap_a_new_motor_process_may_hold_what_it_measures_and_nothing_else():
    rows = with_gap(motion())
    rows["q_command"][100:, 1] += 0.03
    assert {one.what for one in judge.steps(rows, CONFIG)} == {"position after a gap"}
    rows["q"][100:, 1] += 0.03
    assert judge.steps(rows, CONFIG) == []


def test_after_a_gap_arms_that_go_on_are_a_step():
    rows = with_gap(motion())
    rows["qd_command"][100, 0] = 0.01
    assert "velocity after a gap" in {one.what for one in judge.steps(rows, CONFIG)}


def test_a_dry_run_that_moves_is_found():
    rows = with_gap(motion())
    assert judge.moves(rows, int(rows["t_command_ns"][100])) == []
    assert {one.joint for one in judge.moves(rows, int(rows["t_command_ns"][50]))} == {"left_joint_0"}


def test_braking_is_timed_from_its_cause():
    rows = braked(motion(), 120)
    cause_ns = int(rows["t_command_ns"][110]) + 1
    assert judge.braking(rows, cause_ns) == pytest.approx((0.05, 0.05), abs=1e-6)
    assert judge.braking(rows, int(rows["t_command_ns"][150])) is None, "nothing moved"
    assert judge.braking(rows[:125], cause_ns) is None, "not yet at rest"


def test_the_same_seed_plays_the_same_and_all_disturbances_come():
    plan, again, other = (list(islice(episodes(seed), 100)) for seed in (7, 7, 8))
    assert plan == again != other
    assert {one.disturbance for one in plan} == set(DISTURBANCES)
    assert {one.options.seam for one in plan} == set(Seam)
    assert any(one.homing for one in plan)
    assert any(one.options.dry for one in plan)


def test_where_processes_are_spared_none_is_killed():
    deeds = {one.disturbance.deed for one in islice(episodes(7, SPARING), 100)}
    assert Deed.SERVER in deeds
    assert not deeds & {Deed.KILL, Deed.HANG, Deed.SERVER_KILLED}


def test_a_soak_of_minutes_plays_what_begins_within_them(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("bench.soak.time.monotonic", lambda: now_s)
    played = []
    for episode in lasting(episodes(7), 0.5):
        played.append(episode)
        now_s += 7.0
    assert played == list(islice(episodes(7), 5)), "the fifth began after 28 s, a sixth would after 35"


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--episodes", "-1"], ["--minutes", "1", "--episodes", "1"]])
def test_a_soak_that_cannot_be_is_refused(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_a_loss_that_stops_no_homing_is_not_expected_to():
    (kill,) = [row for row in DISTURBANCES if row.deed is Deed.KILL and row.target == "link"]
    assert kill.expected(State.RUNNING) == ({FaultCode.LINK_LOST}, False)
    assert kill.expected(State.HOMING) == (frozenset(), True)


def outcome(**fields):
    return Outcome(0, {}, 0.0, "kill link", "running", **fields)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, set()),
        ({"as_expected": False}, {"unexpected faults"}),
        ({"as_expected": False, "host_stall_s": HOST_STALL_S}, set()),
        ({"stall_ticks": 3}, {"stalls without a cause"}),
        ({"stall_ticks": 3, "may_stall": True}, set()),
        ({"fault": "link_lost", "brake_s": 0.2, "bound_s": 0.1}, {"late reactions"}),
        ({"fault": "link_lost", "brake_s": 0.2, "bound_s": 0.3}, set()),
        ({"steps": [Violation("position", "left_joint_0", 1, 0.1, 0.01)], "host_stall_s": 1.0}, {"discontinuities"}),
    ],
)
def test_what_must_not_be_is_told(fields, found):
    cases = must_be_none([outcome(**fields)], [], 0)
    assert {name for name, texts in cases.items() if texts} == found


def test_what_a_host_that_stood_still_excuses_is_told_all_the_same():
    stood = outcome(as_expected=False, message="the lease ended", host_stall_s=HOST_STALL_S)
    assert explained_by_host([stood, outcome(as_expected=False)]) == [
        "unexpected faults: episode 0 (kill link): no fault in place of none: the lease ended"
    ]


def test_leftovers_and_unseen_ticks_are_told():
    cases = must_be_none([], ["process 7"], 3)
    assert cases["leftovers"] == ["process 7"]
    assert cases["motor ticks unseen"] == ["3 ticks"]


def test_a_soak_is_a_result_with_its_growth_and_a_bar_for_all_that_must_not_be():
    life = [(5.0 * i, Footprint(40.0 + 0.01 * i, 9, 1)) for i in range(60)]
    outcomes = [outcome(ticks=7, stall_ticks=3), outcome(fault="estop")]
    report = document(outcomes, {("link", 7): life}, [], 0, seed=4, spared=True)
    one = as_result(report, {})
    assert one["bench"] == "growth"
    assert "2 episodes, 1 faults" in one["notes"][-1]
    (link,) = one["rows"]
    assert (link["process"], link["mb_per_hour"], link["files_per_hour"]) == ("link", 7.2, 0.0)
    assert {bar["name"]: bar["value"] for bar in one["bars"] if not bar["met"]} == {"stalls without a cause": 1}
    assert "link" in as_text(report)
    mixed = as_result(report | {"spared": False}, {})
    (whole,) = mixed["rows"]
    assert mixed["bench"] == "soak"
    assert (whole["episodes"], whole["motor_ticks"], whole["faults"]) == (2, 7, 1)
    assert (whole["stalls_without_a_cause"], whole["discontinuities"]) == (1, 0)
