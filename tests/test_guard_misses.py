"""The guard in virtual time: no bad chunk touches, no good one is stopped, and with the real physics neither.

`bench/guard_misses.py` is the same with a thousand chunks.
"""

from functools import cache

import numpy as np
import pytest

from bench.guard_misses import row_of
from controller.follower import Mode
from controller.robots.base import N_JOINTS
from tests.bad_chunks import STEPS, Outcome, outcome, room, scenario, smooth
from tests.guard_rig import Touching
from tests.motion_rig import HOME
from tests.sim_rig import SimRig

touching = cache(Touching)


@pytest.mark.parametrize("first", [0, pytest.param(10, marks=pytest.mark.long)])
def test_no_bad_chunk_touches(first):
    outcomes = [outcome(seed, touching()) for seed in range(first, first + 10)]
    assert sum(o.unguarded_depth_m > 0.0 for o in outcomes) >= 8  # they would have
    assert [o for o in outcomes if o.missed] == []
    assert [o for o in outcomes if o.false_alarm] == []
    assert all(o.room_m > 0.0 for o in outcomes if o.alarmed)


def test_what_came_of_chunks_is_counted():
    def chunk(alarmed, depth_m, unguarded_depth_m, unguarded_room_m):
        return Outcome(0, alarmed, 0.3, depth_m, "", 0.01, unguarded_depth_m, unguarded_room_m, "")

    row = row_of([
        chunk(True, 0.0, 0.02, -0.02),
        chunk(False, 0.03, 0.02, -0.02),
        chunk(True, 0.0, 0.0, 0.01),
        chunk(False, 0.0, 0.0, 0.01),
    ])
    counts = {name: row[name] for name in ("n", "would_touch", "stopped", "misses", "false_alarms")}
    assert counts == {"n": 4, "would_touch": 2, "stopped": 2, "misses": 1, "false_alarms": 1}
    assert row["ahead_p50_s"] == 0.3


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))])
def test_no_bad_chunk_touches_in_the_physics(seed):
    _, _, _, bad = scenario(1000 + seed, touching())
    rig = SimRig()
    rig.home()
    start = rig.follower.q.copy()
    rig.run(np.tile(start, (10, 1)))
    rig.advance(100)
    rig.receive(np.concatenate((smooth(start, bad[-1], 20 + 10 * seed), np.tile(bad[-1], (60, 1)))))
    rig.advance(1500)
    assert rig.alarms
    assert rig.follower.mode is Mode.HOLD
    assert rig.follower.fault is None  # braked because it was told to
    np.testing.assert_array_equal(np.array(rig.efforts)[:, [0, 1, 2, 3, 7, 8, 9, 10]], 0.0)


def test_good_chunks_are_not_stopped():
    random, played = np.random.default_rng(11), 0
    while played < 3:
        goal = HOME + 0.4 * random.uniform(-1.0, 1.0, N_JOINTS) * (np.arange(N_JOINTS) % 7 != 6)
        good = smooth(HOME, goal, STEPS)
        if room(good) < 0.003:
            continue
        rig = SimRig(looking=True)
        rig.home()
        rig.run(good)
        rig.advance(900)
        assert rig.alarms == []
        played += 1


@pytest.mark.long
def test_the_demo_raises_no_alarm():
    rig = SimRig(seed=1, reacts=False)
    assert rig.demo(40.0)
    assert rig.alarms == []
    assert len(rig.nearest) > 200
    assert min(nearest.distance_m - nearest.bound_m for _, nearest in rig.nearest) > 0.004
