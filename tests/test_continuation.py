"""What is left of a chunk, as a request carries it, and chunks that continue it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_server.continuation import continued, read_plain_rest
from policy_server.policy import ObservationError

HORIZON = 12


@given(k=st.integers(1, HORIZON), delay=st.integers(0, HORIZON), seed=st.integers(0, 9))
def test_a_continued_chunk_begins_as_the_rest_and_ends_as_itself(k, delay, seed):
    random = np.random.default_rng(seed)
    own, left = random.normal(size=(HORIZON, 3)), random.normal(size=(k, 3))
    chunk = continued(own, left, delay)
    held = min(k, delay)
    np.testing.assert_array_equal(chunk[:held], left[:held])
    np.testing.assert_array_equal(chunk[k:], own[k:])
    low, high = np.minimum(own[:k], left), np.maximum(own[:k], left)
    assert (chunk[:k] >= low - 1e-12).all()
    assert (chunk[:k] <= high + 1e-12).all()


def test_its_own_plan_is_left_as_it_was():
    own = np.zeros((HORIZON, 3))
    continued(own, np.ones((5, 3)), 2)
    assert not own.any()


def test_a_request_without_a_rest_has_none():
    assert read_plain_rest({"state": 1}, HORIZON, 3) is None


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        (7, "'rtc' must be a map"),
        ({"actions": np.zeros((3, 3))}, "'rtc' must be a map"),
        ({"actions": np.zeros((3, 3)), "delay_steps": 1.5}, r"'rtc.delay_steps' is 1.5"),
        ({"actions": np.zeros((3, 3)), "delay_steps": -1}, r"'rtc.delay_steps' is -1, send a whole number in 0..12"),
        ({"actions": np.zeros((3, 3)), "delay_steps": 13}, r"'rtc.delay_steps' is 13"),
        ({"actions": np.zeros((3, 2)), "delay_steps": 1}, r"'rtc.actions' has shape \(3, 2\), send \(steps, 3\)"),
        ({"actions": np.zeros((0, 3)), "delay_steps": 1}, r"'rtc.actions' has 0 steps"),
        ({"actions": np.zeros((13, 3)), "delay_steps": 1}, r"'rtc.actions' has 13 steps, send .* 1..12"),
        ({"actions": np.full((3, 3), math.nan), "delay_steps": 1}, r"'rtc.actions' holds nan at step 0, joint 0"),
        ({"actions": "left", "delay_steps": 1}, r"'rtc.actions' must be \(steps, 3\) numbers"),
    ],
)
def test_a_rest_that_cannot_be_continued_is_refused_by_name(rest, text):
    with pytest.raises(ObservationError, match=text):
        read_plain_rest({"rtc": rest}, HORIZON, 3)
