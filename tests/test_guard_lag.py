"""When a guard counts as fallen behind, and when nobody does."""

import numpy as np
import pytest

from controller import layout
from controller.guard_lag import GuardLag

MS = 1_000_000


class Watch:
    """A supervisor that looks every 10 ms."""

    def __init__(self):
        self.lag = GuardLag(0.3)
        self.status = np.zeros((), layout.GUARD_STATUS)
        self.t_ns = 7_000 * MS

    def run(self, ms, motion_id=1, looks=None, step_ms=10):
        """looks: of which motion the guard tells a new look at every step. The first complaint."""
        for _ in range(ms // step_ms):
            self.t_ns += step_ms * MS
            if looks is not None:
                self.status["checked_motion_id"], self.status["t_checked_ns"] = looks, self.t_ns
            if text := self.lag.watch(self.t_ns, motion_id, self.status):
                return text
        return ""


def test_a_guard_that_looks_keeps_up():
    assert Watch().run(3000, looks=1) == ""


def test_a_guard_that_never_looks_is_behind_after_its_bound():
    watch = Watch()
    assert watch.run(290) == ""
    assert watch.run(100) == "it has not looked at motion 1 for 0.31 s (bound 0.3 s)"


def test_a_guard_that_stops_looking_is_behind():
    watch = Watch()
    watch.run(1000, looks=1)
    assert watch.run(290) == ""
    assert watch.run(30).startswith("it has not looked at motion 1")


def test_looks_at_another_motion_do_not_count():
    assert Watch().run(1000, motion_id=2, looks=1).startswith("it has not looked at motion 2")


def test_without_motion_nothing_is_owed_and_each_motion_begins_anew():
    watch = Watch()
    assert watch.run(5000, motion_id=0) == ""
    assert watch.run(250, motion_id=1) == ""
    assert watch.run(250, motion_id=2) == ""


@pytest.mark.parametrize("gap_ms", [500, 60_000])
def test_a_supervisor_that_stood_still_blames_nobody(gap_ms):
    watch = Watch()
    watch.run(1000, looks=1)
    watch.t_ns += gap_ms * MS
    assert watch.run(200) == ""
    assert watch.run(100) != ""
