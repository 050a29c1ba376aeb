"""The delay that is expected of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.delays import KEPT, UNKNOWN_S, ExpectedDelay

DELAYS = st.lists(st.floats(0.0, 10.0), min_size=1, max_size=60)


def expecting(delays, quantile=0.95):
    made = ExpectedDelay(quantile)
    for delay in delays:
        made.add(delay)
    return made


def test_before_anything_is_known_a_default_is_stated():
    assert not ExpectedDelay(0.95).known
    assert ExpectedDelay(0.95).seconds == UNKNOWN_S == 0.1


def test_one_delay_is_what_is_expected():
    assert expecting([0.3]).known
    assert expecting([0.3]).seconds == 0.3


@pytest.mark.parametrize(("quantile", "expected"), [(0.5, 0.11), (0.9, 0.19), (0.95, 0.20), (1.0, 0.20)])
def test_it_is_a_quantile_and_between_two_the_longer(quantile, expected):
    assert expecting([step / 100 for step in range(1, KEPT + 1)], quantile).seconds == pytest.approx(expected)


def test_old_delays_are_forgotten():
    assert expecting([5.0] + [0.05] * KEPT).seconds == 0.05


@given(DELAYS, st.floats(0.5, 1.0))
def test_at_least_the_quantile_s_share_came_no_later(delays, quantile):
    recent = delays[-KEPT:]
    seconds = expecting(delays, quantile).seconds
    assert seconds in recent
    assert sum(delay <= seconds for delay in recent) >= quantile * (len(recent) - 1) + 1 - 1e-6


def test_an_answer_is_overdue_after_one_and_a_half_times_the_expected_delay_once_that_is_known():
    delay = ExpectedDelay(0.95)
    assert delay.overdue_s == float("inf")
    delay.add(0.2)
    assert delay.overdue_s == pytest.approx(0.35)
