"""How fast processes grow, on lives made up for it."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bench.footprint import Footprint, footprint
from bench.growth import STRETCH_S, WARM_UP_S, growth, growth_rows, settled

PERIOD_S = 4.0


def life(minutes, per_hour, *, noise=0.0, begin_s=1000.0, base=50.0, seed=0):
    t_s = np.arange(0.0, 60.0 * minutes, PERIOD_S)
    values = base + per_hour * t_s / 3600.0 + noise * np.random.default_rng(seed).standard_normal(len(t_s))
    return list(zip((begin_s + t_s).tolist(), values.tolist(), strict=True))


def test_what_grows_steadily_is_told_by_the_hour():
    found = growth([life(10, 6.0)])
    assert found.per_hour == pytest.approx(6.0)
    assert found.error == pytest.approx(0.0, abs=1e-6)


def test_what_only_fills_at_first_does_not_grow():
    rising = [(t_s, min(value + t_s - 1000.0, 75.0)) for t_s, value in life(10, 0.0)]
    assert growth([rising]).per_hour == 0.0


def test_the_error_holds_the_truth_as_often_as_it_says():
    found = [growth([life(10, 3.0, noise=0.2, seed=seed)]) for seed in range(60)]
    assert sum(abs(one.per_hour - 3.0) > one.error for one in found) <= 8, "3 of 60 intervals, give or take"
    assert growth([life(60, 3.0, noise=0.2)]).error < growth([life(10, 3.0, noise=0.2)]).error / 5


def test_lives_are_not_compared_with_each_other():
    lives = [life(2, 6.0, base=base, begin_s=begin_s) for begin_s, base in ((0.0, 50.0), (200.0, 30.0), (400.0, 80.0))]
    assert growth(lives).per_hour == pytest.approx(6.0)


def test_a_few_odd_moments_change_nothing():
    odd = life(10, 6.0)
    for place in (20, 60, 100):
        odd[place] = (odd[place][0], 500.0)
    assert growth([odd]).per_hour == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize("lives", [[life(0.4, 6.0)], [life(1, 6.0)], [life(0.4, 1.0)] * 9])
def test_lives_that_are_too_short_tell_nothing(lives):
    assert growth(lives) is None


def test_a_stretch_is_its_median():
    (first, *_), t_s = settled(life(2, 0.0)), np.arange(WARM_UP_S + 2.0, WARM_UP_S + STRETCH_S, PERIOD_S)
    assert first == pytest.approx((np.median(t_s), 50.0))


def test_a_row_for_each_process_with_the_values_of_its_longest_life():
    grown = [(t_s, Footprint(value, 20, 1)) for t_s, value in life(10, 6.0)]
    short = [(t_s, Footprint(value, 21, 1)) for t_s, value in life(0.5, 6.0)]
    rows = growth_rows({("link", 7): grown, ("link", 8): short, ("motor", 9): short})
    assert [(row["process"], row["lives"], row["files"]) for row in rows] == [("link", 2, 20), ("motor", 1, 21)]
    assert rows[0]["mb_per_hour"] == pytest.approx(6.0)
    assert rows[0]["files_per_hour"] == rows[0]["threads_per_hour_error"] == 0.0
    assert "mb_per_hour" not in rows[1]


def test_a_footprint_counts_what_the_process_has_open():
    before = footprint(os.getpid())
    with open(os.devnull), open(os.devnull):
        now = footprint(os.getpid())
    assert now.files == before.files + 2
    assert now.threads >= 1
    assert now.pss_mb > 5.0


def test_a_process_that_has_ended_has_none():
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(OSError, match=str(child.pid)):
        footprint(child.pid)
    child.wait()
    with pytest.raises(FileNotFoundError):
        footprint(child.pid)
