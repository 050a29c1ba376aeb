"""The five answers about each input of a run, and the reason when it is not fit."""

import numpy as np
import pytest

from controller import inputs, layout
from controller.config import load, shipped
from controller.faults import FaultCode
from controller.inputs import TRAVEL_RAD, Stillness
from controller.robots.base import N_JOINTS

CONFIG = load(shipped("sim")).cameras["cam_high"]
MS = 1_000_000
NOW_NS = 50_000 * MS


def q(value, joint=0):
    vector = np.zeros(N_JOINTS)
    vector[joint] = value
    return vector


def status(**fields):
    record = np.zeros((), layout.CAMERA_STATUS)
    good = {"rate_hz": 30.0, "measured_hz": 29.9, "same_frames": 1, "t_same_ns": 1, "brightness": 90.0}
    for name, value in (good | fields).items():
        record[name] = value
    return record


def still(frames=0, before=2):
    """A camera that showed one picture for `frames` frames since the arms moved."""
    made = Stillness(inputs.seen_joints("cam_high"))
    made.look(before, 1, q(0.0))
    made.look(before, 1, q(2 * TRAVEL_RAD))
    made.look(before + frames, 1, q(2 * TRAVEL_RAD))
    return made


def judged(record=None, alive=True, t_frame_ns=NOW_NS - 20 * MS, stillness=None):
    record = status() if record is None else record
    return inputs.camera(CONFIG, alive, record, t_frame_ns, stillness or still(), NOW_NS)


def test_a_camera_on_which_all_is_well_is_fit():
    health = judged()
    assert health.fit
    assert (health.alive, health.at_rate, health.valid) == (True, True, True)
    assert (health.age_ms, health.bound_ms) == (20.0, 500.0)


BAD = {
    "dead": ({"alive": False}, FaultCode.NONE, "is not there"),
    "slow": ({"record": status(measured_hz=17.9)}, FaultCode.NONE, "delivers 17.9 Hz, set to 30 Hz"),
    "old": ({"t_frame_ns": NOW_NS - 501 * MS}, FaultCode.NONE, "newest frame 501 ms ago (bound 500 ms)"),
    "without a frame": ({"t_frame_ns": None}, FaultCode.NONE, "no frame yet"),
    "dark": ({"record": status(dark_frames=10, brightness=3.25)}, FaultCode.CAMERA_DARK, "brightness 3.2 (bound 8)"),
    "frozen": ({"stillness": still(10)}, FaultCode.CAMERA_FROZEN, "10 of them (bound 10) since the arms moved"),
    "backwards": (
        {"record": status(backwards=3, t_backwards_ns=NOW_NS - 990 * MS)},
        FaultCode.CAMERA_TIME,
        "no later than the one before it, 0.99 s ago (3 in all",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_camera_that_is_not_fit_says_why(name):
    changes, code, text = BAD[name]
    health = judged(**changes)
    assert not health.fit
    assert text in health.reason
    assert health.code is code
    assert health.valid is (code is FaultCode.NONE)
    assert health.alive is (name != "dead")
    assert health.at_rate is (name != "slow")


@pytest.mark.parametrize(
    "changes",
    [
        {"record": status(dark_frames=9)},
        {"record": status(backwards=3, t_backwards_ns=NOW_NS - 1000 * MS)},
        {"stillness": still(9)},
        {"record": status(measured_hz=18.0)},
        {"t_frame_ns": NOW_NS - 500 * MS},
    ],
)
def test_a_camera_is_fit_up_to_its_bounds(changes):
    assert judged(**changes).fit


def test_frames_taken_before_the_arms_moved_do_not_count_as_frozen():
    assert still(3, before=5000).frames == 3


def test_a_picture_may_stay_the_same_while_the_arms_hardly_move():
    made = Stillness(inputs.seen_joints("cam_high"))
    for number in range(500):
        made.look(number, 1, q(TRAVEL_RAD * (number % 2)))
    assert made.frames == 0


def test_a_new_picture_begins_the_count_anew():
    made = still(9)
    made.look(1, 2, q(5.0))
    made.look(50, 2, q(5.0))
    assert (made.frames, made.travel_rad) == (0, 0.0)


@pytest.mark.parametrize(
    ("camera", "joint", "counts"),
    [
        ("cam_high", 0, True),
        ("cam_high", 12, True),
        ("cam_high", 6, False),  # a gripper
        ("cam_left_wrist", 5, True),
        ("cam_left_wrist", 7, False),
        ("cam_right_wrist", 0, False),
        ("cam_right_wrist", 7, True),
    ],
)
def test_a_wrist_camera_sees_the_motion_of_its_own_arm(camera, joint, counts):
    made = Stillness(inputs.seen_joints(camera))
    made.look(1, 1, q(0.0, joint))
    made.look(2, 1, q(1.0, joint))
    made.look(22, 1, q(1.0, joint))
    assert made.frames == (20 if counts else 0)


def joints(alive=True, alarm=FaultCode.NONE, age_ms=5, measured_hz=199.0):
    return inputs.joints(alive, alarm, NOW_NS - age_ms * MS, measured_hz, 200.0, NOW_NS)


def test_joints_that_are_read_well_are_fit():
    assert joints().fit
    assert joints(measured_hz=None).fit


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"alive": False}, "the motor process does not beat"),
        ({"alarm": FaultCode.JOINTS_FROZEN}, "cannot be believed: joint readings frozen"),
        ({"measured_hz": 100.0}, "are read at 100 Hz, set to 200 Hz"),
        ({"age_ms": 101}, "newest reading 101 ms ago (bound 100 ms)"),
    ],
)
def test_joints_that_are_not_fit_say_why(changes, text):
    health = joints(**changes)
    assert text in health.reason
    assert health.valid is ("alarm" not in changes)
    assert health.code is changes.get("alarm", FaultCode.NONE)


def policy(plan_left_s=0.5, **fields):
    record = np.zeros((), layout.LINK_STATUS)
    for name, value in ({"connected": 1, "first_chunk_motion_id": 4} | fields).items():
        record[name] = value
    return inputs.policy(True, record, plan_left_s, NOW_NS - 30 * MS, 5.0, NOW_NS)


def test_a_policy_that_answers_is_fit():
    assert policy().fit
    assert policy(plan_left_s=None).at_rate is None
    assert policy().age_ms == 30.0


@pytest.mark.parametrize("code", inputs.REFUSALS)
def test_a_policy_whose_last_answer_was_refused_is_not_valid_until_one_is_accepted(code):
    refused = policy(fault=code, fault_motion_id=4)
    assert not refused.valid
    assert refused.code is code
    assert "was refused" in refused.reason
    assert policy(fault=code, fault_motion_id=3).valid
    assert policy(fault=FaultCode.CAMERA_STALE, fault_motion_id=4).valid


def test_a_policy_that_is_away_or_behind_says_so():
    assert policy(connected=0).reason == "is not connected"
    assert policy(plan_left_s=0.0).reason == "does not keep up: no plan is left"
    assert policy(plan_left_s=0.0).at_rate is False
