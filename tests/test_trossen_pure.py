"""What the arms' adapter works out without an arm: errors decoded, checks, goal times, the device's clock, silence."""

from pathlib import Path

import numpy as np
import pytest
from fake_trossen import ERROR_WORDS, LOWER, UPPER, VELOCITY
from hypothesis import given
from hypothesis import strategies as st
from trossen_rig import CONFIG, changed

from controller.config import ConfigError
from controller.findings import Level
from controller.robots.trossen_checks import (
    MARGIN,
    OUTSIDE,
    REST,
    ArmLimits,
    at_rest,
    failures,
    inside,
    limits,
    same_tool,
    temperature,
    versions,
)
from controller.robots.trossen_errors import ERRORS, decode, explain, joint_of
from controller.robots.trossen_stream import LONGEST_S, ArmClock, Silence, Stream

WORDS = {code: words for code, (_, words) in enumerate(ERROR_WORDS)}
THEIRS = ArmLimits(LOWER, UPPER, VELOCITY)
MS = 1_000_000
PERIOD_S = 0.005


# ---- errors --------------------------------------------------------------------------------------------


def test_an_error_is_told_with_number_joint_meaning_and_next_step():
    text = "Error occurred: Joint overheated Latest log since powered on: joint 4 at 101 C\nPlease refer to our guide"
    assert explain("left arm", text, WORDS) == (
        "left arm: error 10 joint_overheated (joint_4): a joint is too hot; switch the arm off and let it cool down"
    )


@pytest.mark.parametrize(
    ("text", "joint"),
    [("Joint 6 failed", "left_carriage_joint"), ("joint_0", "joint_0"), ("Joint 9", ""), ("jointly 3", ""), ("", "")],
)
def test_a_joint_is_found_where_one_is_named(text, joint):
    assert joint_of(text) == joint


def test_no_error_is_no_error():
    assert decode("No error", WORDS) is None


def test_an_error_that_a_later_driver_knows_is_told_in_its_words():
    error = decode("Error occurred: Joint on fire", WORDS | {17: "Joint on fire"})
    assert error is not None
    assert (error.code, error.meaning) == (17, "Joint on fire")


@pytest.mark.parametrize(
    ("text", "next_step"),
    [
        ("Failed to connect to the arm controller's TCP server at 10.0.0.5:50001 within 10 seconds", "power and cable"),
        ("Failed to read UDP message due to Success", "load on this machine"),
        ("TCP connection closed unexpectedly", "power and cable"),
        ("Failed to receive initial joint outputs", "power and cable"),
        ("The major and minor versions of the driver and controller firmware must match.", "major.minor"),
        ("Model mismatch: expected wxai_v0, got vxai_v0_left", "robot.trossen.model"),
        ("something new", "see the log"),
    ],
)
def test_what_the_driver_says_of_the_connection_has_a_next_step(text, next_step):
    told = explain("right arm", f"{text}\nPlease refer to our guide", WORDS)
    assert told.startswith(f"right arm: {text}")
    assert next_step in told
    assert "refer" not in told


def test_the_page_about_the_arms_has_every_error():
    page = (Path(__file__).parent.parent / "docs" / "trossen.md").read_text(encoding="utf-8")
    for error in ERRORS.values():
        assert f"| {error.code} | `{error.name}` | {error.meaning} | {error.next_step} |" in page


# ---- checks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "firmware", "level"),
    [
        ("1.11.0", "1.11.1", Level.OK),
        ("1.11.0", "v1.11.0", Level.OK),
        ("1.11.0", "1.1.11", Level.FAIL),
        ("1.11.0", "2.11.0", Level.FAIL),
        ("1.11.0", "", Level.FAIL),
        ("unknown", "1.11.0", Level.FAIL),
    ],
)
def test_versions_agree_in_major_and_minor(driver, firmware, level):
    assert versions("arm", driver, firmware).level is level


def test_what_ships_lies_inside_what_the_arms_enforce():
    assert [finding.level for finding in limits("arm", CONFIG.robot.limits, THEIRS)] == [Level.OK]


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("which", ["lower", "upper", "velocity"])
def test_a_limit_of_ours_beyond_the_arms_is_named_with_both_numbers(which, joint):
    theirs = ArmLimits(LOWER.copy(), UPPER.copy(), VELOCITY.copy())
    ours = getattr(CONFIG.robot.limits, which)[joint]
    bound = {"lower": ours - MARGIN[joint], "upper": ours + MARGIN[joint], "velocity": ours / 0.9}[which]
    getattr(theirs, which)[joint] = bound + (1e-6 if which == "lower" else -1e-6)
    found = [f for f in limits("arm", CONFIG.robot.limits, theirs) if "brake" not in f.text]
    (finding,) = found
    assert finding.level is Level.FAIL
    assert f"robot.limits.{which} of " in finding.text
    assert f"= {ours:g} must be at " in finding.text


def test_a_limit_that_is_no_number_is_refused():
    theirs = ArmLimits(LOWER, np.full(7, np.nan), VELOCITY)
    assert len([f for f in limits("arm", CONFIG.robot.limits, theirs) if f.level is Level.FAIL]) == 7


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("value", [1.0, -1.0, np.nan])
def test_a_joint_that_moves_or_is_no_number_is_not_at_rest(joint, value):
    qd = np.zeros(7)
    assert at_rest("arm", qd).level is Level.OK
    qd[joint] = value * REST[joint]
    assert at_rest("arm", qd).level is Level.FAIL


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("edge", [0, 1])
def test_a_joint_may_lie_a_little_outside_the_range_and_no_farther(joint, edge):
    low, high = THEIRS.commands
    q, sign = 0.5 * (low + high), (-1, 1)[edge]
    q[joint] = (low, high)[edge][joint] + sign * 0.99 * OUTSIDE[joint]
    assert inside("arm", q, THEIRS).level is Level.OK
    q[joint] = (low, high)[edge][joint] + sign * 1.01 * OUTSIDE[joint]
    assert inside("arm", q, THEIRS).level is Level.FAIL
    q[joint] = np.nan
    assert inside("arm", q, THEIRS).level is Level.FAIL


def test_a_warm_joint_is_named_and_no_reason_to_refuse():
    celsius = np.array([30.0, 40.0, 35.0, 65.0, 30.0, 30.0, 30.0])
    warm = temperature("arm", celsius, 65.0)
    assert (warm.level, warm.text) == (Level.WARN, "joint_3 at 65 °C (bound 65)")
    assert temperature("arm", celsius, 65.1).level is Level.OK
    assert failures([warm]) == ""
    celsius[5] = np.nan
    unknown = temperature("arm", celsius, 70.0)
    assert (unknown.level, unknown.text) == (Level.WARN, "joint_5 says nan °C (bound 70)")


@pytest.mark.parametrize(
    ("reported", "level"), [([0.672, 0.1], Level.OK), ([0.654, 0.1], Level.FAIL), ([0.672], Level.FAIL)]
)
def test_the_end_effector_is_compared_by_its_values(reported, level):
    assert same_tool("arm", "follower", [0.67224, 0.1], reported).level is level


# ---- configuration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('left_ip = "192.168.1.5"', "", "needs left_ip and right_ip"),
        ('left_ip = "192.168.1.5"', 'left_ip = "left.local"', "left_ip = 'left.local' is no IPv4 address"),
        ('left_ip = "192.168.1.5"', 'left_ip = "192.168.1.4"', "left_ip and right_ip are both '192.168.1.4'"),
        ("stale_s = 0.05", "stale_s = 0.001", "robot.trossen.stale_s = 0.001"),
        ("connect_timeout_s = 10.0", "connect_timeout_s = 60.0", "robot.trossen.connect_timeout_s = 60.0"),
        ("stale_s = 0.05", "stale = 0.05", "robot.trossen.stale: unknown key"),
    ],
)
def test_a_mistake_in_the_arms_settings_is_told(old, new, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        changed(old, new)


# ---- goal times ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.floats(0.0001, 0.3), st.lists(st.floats(-3, 3), min_size=2, max_size=2)), min_size=1, max_size=30
    )
)
def test_however_commands_come_the_set_point_goes_no_faster_than_its_limit_and_never_jumps(steps):
    velocity, now_ns = np.array([3.0, 0.5]), 10**12
    stream = Stream(np.zeros(2), velocity, PERIOD_S)
    for dt_s, goal in steps:
        before = stream.at(now_ns)
        given_goal, time_s = stream.next(now_ns, np.array(goal))
        assert PERIOD_S <= time_s <= LONGEST_S + 1e-12
        np.testing.assert_allclose(stream.at(now_ns), before, atol=1e-12)
        assert (np.abs(given_goal - before) <= velocity * time_s + 1e-9).all()
        now_ns += round(1e9 * dt_s)
        np.testing.assert_allclose(
            stream.at(now_ns), before + min(dt_s / time_s, 1.0) * (given_goal - before), atol=1e-6
        )


def test_a_near_goal_is_handed_on_as_it_is_with_one_period():
    stream = Stream(np.zeros(2), np.full(2, 3.0), PERIOD_S)
    goal, time_s = stream.next(10**12, np.array([0.01, -0.01]))
    assert (goal == [0.01, -0.01]).all()
    assert time_s == PERIOD_S


def test_a_far_goal_is_reached_in_the_end():
    stream, now_ns = Stream(np.zeros(1), np.ones(1), PERIOD_S), 10**12
    for _ in range(300):
        stream.next(now_ns, np.ones(1))
        now_ns += 5 * MS
    assert stream.at(now_ns) == 1.0


# ---- clocks --------------------------------------------------------------------------------------------


def test_stamps_become_instants_that_are_nearly_those_of_the_device():
    """Device time runs from an offset of its own and 50 parts per million fast; readings arrive 1 to 6 ms late."""
    clock, random = ArmClock(), np.random.default_rng(1)
    before = 0
    for tick in range(4000):
        t_ns = 10**12 + tick * 5 * MS
        stamp_us = round((t_ns - 10**12) * (1 + 50e-6) / 1000) + 77
        instant_ns = clock.instant_ns(stamp_us, t_ns + MS + round(random.uniform(0, 5) * MS))
        assert instant_ns > before
        if tick > 100:
            assert 0.5 * MS < instant_ns - t_ns < 2 * MS
        before = instant_ns


def test_a_stamp_that_goes_back_is_an_instant_that_goes_back():
    clock = ArmClock()
    first = clock.instant_ns(100_000, 10**12)
    assert clock.instant_ns(95_000, 10**12 + 5 * MS) < first


def test_silence_counts_from_the_last_new_reading():
    silence = Silence(PERIOD_S)
    assert silence.look(0, 1) == 0.0
    assert silence.look(5 * MS, 1) == pytest.approx(0.005)
    assert silence.look(10 * MS, 1) == pytest.approx(0.010)
    assert silence.look(15 * MS, 2) == 0.0


def test_time_in_which_nobody_looked_hardly_counts_as_silence():
    silence = Silence(PERIOD_S)
    silence.look(0, 1)
    assert silence.look(10**10, 1) == pytest.approx(0.015)
