"""The policy link against a real server: when it asks, what a request carries, what it makes of the answers."""

from __future__ import annotations

import dataclasses
import gc
import json
import logging
import math
import threading
import time

import numpy as np
import pytest
from link_rig import HOME, MOTION, RecordedPolicy, linked
from server_rig import until

from controller import layout
from controller.faults import FaultCode
from controller.link_session import Session
from controller.planner import Phase
from controller.run_options import Seam

EVERYTHING = frozenset({"rtc", "playback_s", "observation_age_s"})
WAVE = HOME + 0.2 * np.sin(np.arange(50) / 12.0)[:, None] * np.array([1.0] * 6 + [0.0] + [1.0] * 6 + [0.0])
QUIET_S = 0.3
"""Long enough for a request that should not leave to have left: six times what the link sleeps at most."""


def waving(extensions=EVERYTHING):
    """Never the same answer twice."""
    counted = iter(range(10**6))
    return RecordedPolicy(lambda seen: WAVE + 1e-5 * next(counted), extensions)


def never(rig, asked, count):
    time.sleep(QUIET_S)
    assert len(asked) == count


def test_each_request_leaves_on_a_fresh_frame():
    policy = waving()
    with linked(policy) as rig:
        rig.see()
        never(rig, policy.asked, 0)
        rig.order()
        until(lambda: rig.status["answers"] == 1)  # on the frame that was there
        never(rig, policy.asked, 1)
        rig.exchange()
        assert len(policy.asked) == 2
        rig.order(motion_id=0)
        rig.see()
        never(rig, policy.asked, 2)


def test_a_chunk_carries_its_trace_stage_by_stage():
    with linked(waving()) as rig:
        rig.order()
        seen_ns = rig.see()
        until(lambda: rig.rings["chunk"].count == 1)
        chunk = rig.chunk()
    instants = [int(chunk[f"t_{name}_ns"]) for name in ("exposure_oldest", "frame", "ready")]
    assert instants == [seen_ns] * 3
    assert seen_ns <= chunk["t_asked_ns"] <= chunk["t_sent_ns"] <= chunk["t_received_ns"]
    assert 0.0 <= chunk["queue_ms"] + chunk["inference_ms"] <= chunk["server_ms"]
    assert chunk["server_ms"] <= (chunk["t_received_ns"] - chunk["t_sent_ns"]) * 1e-6


def test_with_an_execution_horizon_it_waits_for_the_steps_and_then_for_a_frame():
    policy = waving()
    with linked(policy) as rig:
        rig.order(execution_horizon=25)
        chunk_id = int(rig.exchange()["chunk_id"])
        rig.plan(chunk_id, begun_s=0.0, speed=0.0)
        rig.see()
        never(rig, policy.asked, 1)
        rig.plan(chunk_id, begun_s=0.6)
        never(rig, policy.asked, 1)  # due, but there is no fresh frame
        rig.see()
        until(lambda: len(policy.asked) == 2)


def test_a_chunk_that_control_has_not_taken_up_is_waited_for():
    policy = waving()
    with linked(policy) as rig:
        rig.order(execution_horizon=25)
        first = int(rig.exchange()["chunk_id"])
        rig.plan(first, begun_s=0.6)
        second = int(rig.exchange()["chunk_id"])
        rig.see()
        never(rig, policy.asked, 2)
        rig.plan(second, tau0_s=0.5, begun_s=1.2)
        rig.see()
        until(lambda: len(policy.asked) == 3)


def test_before_control_follows_requests_do_not_wait_for_steps():
    policy = waving()
    with linked(policy) as rig:
        rig.order(execution_horizon=40)
        chunk_id = int(rig.exchange()["chunk_id"])
        rig.exchange()
        rig.plan(chunk_id, speed=0.0, phase=Phase.RAMP)
        rig.exchange()
        assert len(policy.asked) == 3


def test_the_rest_of_the_followed_chunk_goes_with_the_request():
    policy = waving()
    with linked(policy) as rig:
        rig.order(seam=Seam.RTC)
        chunk = rig.exchange()
        assert "rtc" not in policy.asked[0], "there is no plan yet"
        rig.plan(int(chunk["chunk_id"]), begun_s=0.41, speed=0.5)
        rig.exchange()
        rest = policy.asked[1]["rtc"]
        steps = 50 - len(rest["actions"])
        assert steps >= 10, "0.41 s and more at half the speed"
        played = policy.asked[1]["playback_s"] * 50.0
        assert math.ceil(played - 1e-3) == steps
        between = WAVE[steps - 1 : steps + 1]
        assert (rest["actions"][0] >= between.min(axis=0) - 1e-3).all()
        assert (rest["actions"][0] <= between.max(axis=0) + 1e-3).all()
        np.testing.assert_allclose(rest["actions"][-1], WAVE[-1], atol=0.02)
        assert rest["delay_steps"] == 3, "0.1 s, which is stated while nothing is known, at half the speed"


def test_the_chunk_that_is_followed_counts_not_the_newest():
    policy = waving()
    with linked(policy) as rig:
        rig.order(seam=Seam.RTC)
        first = rig.exchange()
        rig.exchange()
        rig.plan(int(first["chunk_id"]), speed=0.0)
        rig.exchange()
        np.testing.assert_allclose(policy.asked[2]["rtc"]["actions"], first["actions"][:50], atol=1e-12)
        assert policy.asked[2]["rtc"]["delay_steps"] == 0


@pytest.mark.parametrize(
    ("seam", "extensions"), [(Seam.BLEND, EVERYTHING), (Seam.RTC, EVERYTHING - {"rtc"}), (Seam.ENSEMBLE, EVERYTHING)]
)
def test_a_rest_is_sent_when_asked_for_and_offered(seam, extensions):
    policy = waving(extensions)
    with linked(policy) as rig:
        rig.order(seam=seam)
        rig.plan(int(rig.exchange()["chunk_id"]), begun_s=0.2)
        rig.exchange()
        assert "rtc" not in policy.asked[1]


def test_a_plan_of_another_motion_is_none_of_this_one():
    policy = waving()
    with linked(policy) as rig:
        rig.order(seam=Seam.RTC)
        rig.plan(int(rig.exchange()["chunk_id"]), begun_s=5.0, motion_id=MOTION - 1)
        rig.exchange()
        assert "rtc" not in policy.asked[1]
        assert policy.asked[1]["playback_s"] == 0.0


def test_the_policy_s_time_goes_with_each_request():
    policy = waving()
    with linked(policy) as rig:
        rig.order()
        chunk_id = int(rig.exchange()["chunk_id"])
        rig.plan(chunk_id, begun_s=10.0, speed=0.3, tau_play_ns=2_000_000_000)
        rig.exchange()
        told = [asked["playback_s"] for asked in policy.asked]
        assert told[0] == 0.0
        assert told[1] >= 5.0
        record = np.zeros((), layout.PLAN)
        rig.rings["plan"].reader().newest(record)
        seen_ns = int(rig.chunk()["t_observation_ns"]) - int(record["t_play_ns"])
        assert told[1] == pytest.approx(2.0 + 0.3 * seen_ns * 1e-9, abs=1e-6)


def test_a_server_that_offers_nothing_gets_nothing():
    policy = waving(frozenset())
    with linked(policy) as rig:
        rig.order(seam=Seam.RTC)
        rig.plan(int(rig.exchange()["chunk_id"]), begun_s=0.2)
        rig.exchange()
        assert set(policy.asked[1]) == {"state", "images", "prompt"}, "but the id, which its server takes off"


def test_the_expected_delay_leaves_out_a_connection_s_first_call():
    gate = threading.Event()
    policy = RecordedPolicy(lambda seen: gate.wait(QUIET_S) or WAVE, EVERYTHING)
    with linked(policy) as rig:
        assert math.isnan(rig.status["expected_delay_ms"])
        rig.order()
        rig.exchange()
        assert math.isnan(rig.status["expected_delay_ms"])
        gate.clear()
        rig.exchange()
        assert rig.status["expected_delay_ms"] >= QUIET_S * 1e3
        assert rig.status["expected_delay_ms"] >= (rig.chunk()["t_received_ns"] - rig.chunk()["t_observation_ns"]) / 1e6


@pytest.mark.raises_fault("policy_stuck", "running")
def test_a_policy_that_no_longer_looks_faults_the_motion():
    policy = RecordedPolicy(lambda seen: WAVE, EVERYTHING)
    with linked(policy) as rig:
        rig.order()
        chunk_id = int(rig.exchange()["chunk_id"])
        rig.plan(chunk_id)
        for step in range(12):
            assert not rig.faults
            rig.exchange(HOME + 0.01 * step * np.eye(14)[2])
            if rig.faults:
                break
        ((code, text, motion_id),) = rig.faults
        assert (code, motion_id) == (FaultCode.POLICY_STUCK, MOTION)
        assert "10 answers in a row" in text
        assert "left_joint_2 moved by 0.090 rad" in text
        assert rig.status["same_answers"] == 10


def test_a_camera_that_stops_while_steps_are_waited_for_is_named():
    policy = waving()
    with linked(policy) as rig:
        rig.order(execution_horizon=25)
        rig.plan(int(rig.exchange()["chunk_id"]), speed=0.0)
        rig.see()
        until(lambda: rig.faults)
        code, text, motion_id = rig.faults[0]
        assert (code, motion_id) == (FaultCode.CAMERA_STALE, MOTION)
        assert "no fresh frame from cam_high" in text


def slow_from(third):
    """Answers at once but for the third request, which waits until it is let go."""
    counted = iter(range(10**6))

    def actions(_seen):
        n = next(counted)
        if n == 2:
            third.wait(10.0)
        return WAVE + 1e-5 * n

    return RecordedPolicy(actions, EVERYTHING)


def test_an_overdue_answer_is_not_waited_for_and_used_when_it_comes_after_all():
    third = threading.Event()
    policy = slow_from(third)
    with linked(policy) as rig:
        rig.order()
        rig.exchange()
        rig.exchange()
        rig.see()
        until(lambda: rig.status["requests"] == 3)
        until(lambda: rig.see() and rig.status["requests"] >= 4)  # the camera goes on
        assert rig.status["answers"] == 2
        third.set()
        until(lambda: rig.status["answers"] >= 4)
        assert rig.faults == []
        until(lambda: rig.rings["chunk"].count == rig.status["answers"])


def test_without_a_known_delay_nothing_is_overdue():
    first = threading.Event()
    policy = RecordedPolicy(lambda seen: first.wait(10.0) and WAVE, EVERYTHING)
    with linked(policy) as rig:
        rig.order()
        rig.see()
        until(lambda: rig.status["requests"] == 1)
        for _ in range(5):
            rig.see()
            time.sleep(0.1)
        assert rig.status["requests"] == 1
        first.set()


def test_a_server_that_never_answers_again_is_lost_however_often_it_is_asked():
    third = threading.Event()
    policy = slow_from(third)
    with linked(policy, request_timeout_s=1.0) as rig:
        rig.order()
        rig.exchange()
        rig.exchange()
        until(lambda: rig.see() and rig.faults)
        assert rig.faults[0][0] is FaultCode.POLICY_LOST
        assert "no answer within 1 s" in rig.faults[0][1]
        assert rig.status["requests"] > 3
        third.set()


def test_an_answer_that_comes_after_its_motion_counts_as_late_as_it_was_and_no_later():
    third = threading.Event()
    policy = slow_from(third)
    with linked(policy) as rig:
        rig.order()
        rig.exchange()
        rig.exchange()
        rig.see()
        until(lambda: rig.status["requests"] == 3)
        rig.order(motion_id=0)
        time.sleep(QUIET_S)  # overdue
        third.set()
        until(lambda: rig.status["answers"] == 3)
        expected_ms = float(rig.status["expected_delay_ms"])
        time.sleep(2 * QUIET_S)  # nothing is under way
        rig.order(motion_id=MOTION + 1)
        rig.see()
        until(lambda: rig.status["answers"] == 4)
        assert rig.faults == []
        until(lambda: rig.rings["chunk"].count == 3)  # the late one was for nobody
        assert rig.status["expected_delay_ms"] == expected_ms


def test_a_failing_server_is_heard_while_its_answer_is_overdue():
    third = threading.Event()
    policy = slow_from(third)
    answers = policy.actions

    def fails(seen):
        actions = answers(seen)
        if len(policy.asked) == 3:
            raise RuntimeError("the device is gone")
        return actions

    policy.actions = fails
    with linked(policy) as rig:
        rig.order()
        rig.exchange()
        rig.exchange()
        rig.see()
        until(lambda: rig.status["requests"] == 3)
        time.sleep(QUIET_S)  # overdue, and no frame comes with which another request could leave
        third.set()
        until(lambda: rig.faults)
        code, text, _ = rig.faults[0]
        assert code is FaultCode.POLICY_REFUSED
        assert "the server answered: RuntimeError: the device is gone" in text


def test_whatever_a_server_calls_itself_fits_the_status():
    policy = waving()
    policy.info = dataclasses.replace(policy.info, policy='\x00"\\é\n' * 200)
    with linked(policy) as rig:
        told = json.loads(bytes(rig.status["server"]).rstrip(b"\0"))
        assert told["policy"] == '?"\\??' * 16


def test_a_session_that_has_ended_is_freed_without_the_collector(monkeypatch):
    def fail(_seen):
        raise RuntimeError("no device")

    def alive():
        return sum(type(thing) is Session for thing in gc.get_objects())

    for name in ("link", "link_session"):
        monkeypatch.setattr(f"controller.{name}.log", logging.Logger("none", logging.CRITICAL), raising=False)
    gc.collect()
    before = alive()
    gc.disable()
    try:
        with linked(RecordedPolicy(fail, EVERYTHING)) as rig:
            rig.order()
            until(lambda: rig.see() and rig.status["reconnects"] >= 3)
            until(lambda: alive() <= before + 1)
    finally:
        gc.enable()
