"""Absolute deadlines on a fake clock, and lateness percentiles against numpy."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.layout import LATENESS_BINS
from controller.ticker import Lateness, MonotonicClock, Ticker, percentile_us

MS = 1_000_000


class FakeClock:
    """Sleeps end late_ns after the deadline, or at wake_ns when that comes first."""

    def __init__(self):
        self.t_ns, self.late_ns, self.wake_ns = 0, 0, None

    def now_ns(self):
        return self.t_ns

    def sleep_until(self, t_ns, wake_fd=None):
        if wake_fd is not None and self.wake_ns is not None and self.wake_ns < t_ns:
            self.t_ns, self.wake_ns = max(self.t_ns, self.wake_ns), None
            return True
        self.t_ns = max(self.t_ns, t_ns + self.late_ns)
        return False


def test_ticks_are_a_period_apart_and_do_not_drift():
    clock = FakeClock()
    ticker = Ticker(clock, 50.0)
    clock.late_ns = 300_000
    instants = []
    for _ in range(1000):
        assert ticker.wait() is False
        instants.append(clock.t_ns)
        clock.t_ns += 7 * MS  # the work of a tick
    assert instants == [20 * MS * (n + 1) + 300_000 for n in range(1000)]
    assert (ticker.ticks, ticker.missed) == (1000, 0)


@pytest.mark.parametrize(("busy_ms", "missed"), [(19, 0), (20, 0), (39, 0), (40, 1), (59, 1), (61, 2), (500, 24)])
def test_missed_deadlines_are_counted_and_skipped_in_phase(busy_ms, missed):
    clock = FakeClock()
    ticker = Ticker(clock, 50.0)
    ticker.wait()
    clock.t_ns += busy_ms * MS
    ticker.wait()  # the deadline that was due meanwhile
    assert ticker.missed == missed
    assert ticker.ticks == 2
    late_ns = clock.t_ns
    ticker.wait()
    assert late_ns < clock.t_ns <= late_ns + 20 * MS  # one period at most: no burst, nothing waited twice
    assert clock.t_ns % (20 * MS) == 0  # and in phase


def test_a_wake_up_comes_early_and_leaves_the_deadline_where_it_was():
    clock = FakeClock()
    ticker = Ticker(clock, 50.0)
    clock.wake_ns = 13 * MS
    assert ticker.wait(wake_fd=3) is True
    assert clock.t_ns == 13 * MS
    assert (ticker.ticks, ticker.deadline_ns) == (0, 20 * MS)
    assert ticker.wait(wake_fd=3) is False
    assert clock.t_ns == 20 * MS


def test_the_period_follows_the_rate():
    assert Ticker(FakeClock(), 200.0).period_ns == 5 * MS
    assert Ticker(FakeClock(), 30.0).period_ns == 33_333_333


lateness = st.lists(st.floats(1.5, 60_000.0), min_size=1, max_size=300)


@settings(deadline=None)
@given(lateness, st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_percentiles_are_those_of_numpy_to_the_width_of_a_bin(values_us, fraction):
    kept = Lateness()
    for value_us in values_us:
        kept.add(round(value_us * 1e3))
    exact_us = np.percentile(values_us, 100 * fraction, method="inverted_cdf")
    found_us = percentile_us(kept.bins, fraction)
    assert exact_us * 0.999 <= found_us <= exact_us * 2**0.25 * 1.001
    assert kept.max_us == pytest.approx(max(values_us), abs=1e-3)


def test_lateness_below_a_microsecond_and_above_the_last_bin_is_counted_too():
    kept = Lateness()
    for late_ns in (0, 999, 10**12):
        kept.add(late_ns)
    assert (kept.bins[0], kept.bins[-1], kept.bins.sum()) == (2, 1, 3)
    assert kept.max_us == 1e9
    assert percentile_us(kept.bins, 1.0) == 2.0 ** (LATENESS_BINS / 4)


def test_no_ticks_have_no_percentile():
    assert percentile_us(Lateness().bins, 0.5) is None


def test_the_real_clock_sleeps_at_least_until_the_deadline():
    clock = MonotonicClock()
    deadline_ns = clock.now_ns() + 2 * MS
    assert clock.sleep_until(deadline_ns) is False
    assert clock.now_ns() >= deadline_ns
    assert clock.sleep_until(deadline_ns - MS) is False  # one that is past does not sleep


def test_the_real_clock_is_woken_by_a_descriptor():
    reading, writing = os.pipe()
    try:
        clock = MonotonicClock()
        assert clock.sleep_until(clock.now_ns() + MS, reading) is False
        os.write(writing, b"x")
        far_ns = clock.now_ns() + math.ceil(3600e9)
        assert clock.sleep_until(far_ns, reading) is True
    finally:
        os.close(reading)
        os.close(writing)
