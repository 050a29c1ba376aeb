"""A device's clock against ours: the quickest transfer tells how far they are apart."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.device_clock import OLDEST_NS, DeviceClock, is_believable, wall_to_monotonic_ns

MS = 1_000_000
PERIOD_NS = 33_333_333
APART_NS = 7_000_000 * MS


def play(delays_ns, drift=0.0):
    """The error of each frame's instant, when the device's clock runs by `drift` too fast."""
    clock = DeviceClock()
    errors = []
    for index, delay_ns in enumerate(delays_ns):
        t_true_ns = APART_NS + index * PERIOD_NS
        t_device_ns = round(index * PERIOD_NS * (1 + drift))
        errors.append(clock.to_host_ns(t_device_ns, t_true_ns + int(delay_ns)) - t_true_ns)
    return np.array(errors)


def test_the_jitter_of_the_transfer_is_left_out_and_its_least_time_stays_in():
    delays = np.random.default_rng(1).integers(5 * MS, 25 * MS, 600)
    errors = play(delays)
    assert (np.abs(errors[60:] - 5 * MS) < MS).all()


def test_a_clock_that_drifts_is_followed_both_ways():
    delays = np.full(9000, 5 * MS)
    for drift in (50e-6, -50e-6):
        errors = play(delays, drift)
        assert np.abs(errors - 5 * MS).max() < 0.6 * MS, drift


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=60))
def test_frames_stay_in_the_order_of_their_stamps_and_never_lie_after_their_arrival(delays_ms):
    delays = np.array(delays_ms) * MS
    errors = play(delays)
    instants = errors + np.arange(len(delays)) * PERIOD_NS
    assert (np.diff(instants) > 0).all()
    arrivals_in_order = (np.diff(delays + np.arange(len(delays)) * PERIOD_NS) > 0).all()
    assert not arrivals_in_order or (errors <= delays).all()


def test_a_device_that_starts_its_clock_anew_is_followed_at_once():
    clock = DeviceClock()
    for index in range(90):
        clock.to_host_ns(5_000_000 * MS + index * PERIOD_NS, APART_NS + index * PERIOD_NS + 8 * MS)
    later_ns = APART_NS + 200 * PERIOD_NS
    assert clock.to_host_ns(3 * MS, later_ns) == later_ns
    forward_ns = later_ns + PERIOD_NS
    assert clock.to_host_ns(9_000_000 * MS, forward_ns) == forward_ns


def test_wall_time_is_taken_over_by_what_both_clocks_show_now():
    assert wall_to_monotonic_ns(1_700_000_000_000_000_000, 1_700_000_000_020_000_000, 500 * MS) == 480 * MS


def test_an_exposure_after_the_arrival_or_long_before_it_is_not_believed():
    assert is_believable(100, 100)
    assert is_believable(0, OLDEST_NS)
    assert not is_believable(101, 100)
    assert not is_believable(0, OLDEST_NS + 1)
