"""When the next request leaves: by the steps of the newest chunk that are past on the policy's time."""

import numpy as np
import pytest

from controller import layout
from controller.pacing import Followed, Pacing, followed
from controller.planner import Phase
from controller.playback import Playback

MS = 1_000_000
BEGIN_NS = 1_000 * MS


def plan(chunk_id=1, tau0_ms=0, speed=1.0, playing=True, t_ms=2_000):
    playback = Playback(BEGIN_NS, 0, speed, speed, 0.4) if playing else Playback.standing(BEGIN_NS, 0.4)
    return Followed(t_ms * MS, 7, playing, playback, chunk_id, tau0_ms * MS, 50.0)


def first_due_ms(seen, horizon, pacing=None):
    """The first millisecond after the run's beginning at which the next request may leave."""
    pacing = pacing or delivered(1)
    return next(t for t in range(10_000) if pacing.due(BEGIN_NS + t * MS, seen, horizon))


def delivered(chunk_id, t_ms=0):
    pacing = Pacing()
    pacing.delivered(chunk_id, t_ms * MS)
    return pacing


def test_without_a_horizon_it_is_due_at_once():
    assert delivered(2, 5_000).due(0, plan(), 0)


@pytest.mark.parametrize(
    ("horizon", "speed", "due_ms"), [(1, 1.0, 20), (25, 1.0, 500), (25, 0.5, 1000), (10, 0.25, 800)]
)
def test_with_one_it_is_due_once_so_many_steps_are_past(horizon, speed, due_ms):
    assert first_due_ms(plan(speed=speed), horizon) == due_ms


def test_steps_count_from_where_control_put_the_chunk():
    assert first_due_ms(plan(tau0_ms=300), 25) == 800


@pytest.mark.parametrize("seen", [None, plan(playing=False)])
def test_before_the_policy_s_time_passes_it_is_due_at_once(seen):
    assert first_due_ms(seen, 40) == 0


def test_a_chunk_that_control_has_not_looked_at_yet_is_waited_for():
    """The plan is still the old one, whose horizon is long past; the request it allowed has just been answered."""
    stale = plan(chunk_id=1, t_ms=2_000)
    pacing = delivered(2, t_ms=2_001)
    assert not pacing.due(2_002 * MS, stale, 25)
    taken = plan(chunk_id=2, tau0_ms=900, t_ms=2_003)
    assert not pacing.due(2_003 * MS, taken, 25)
    assert pacing.due(2_400 * MS, taken, 25)


def test_a_chunk_that_control_has_refused_is_not_waited_for():
    """It has written its plan again since, and that is still the old one."""
    assert delivered(2, t_ms=2_001).due(2_050 * MS, plan(chunk_id=1, t_ms=2_049), 25)


def test_a_link_that_was_started_again_goes_by_the_plan():
    assert first_due_ms(plan(chunk_id=99), 25, Pacing()) == 500


def record(phase):
    made = np.zeros((), layout.PLAN)
    made["t_ns"], made["motion_id"], made["phase"] = 5, 7, phase
    made["t_play_ns"], made["tau_play_ns"], made["play_from"], made["play_to"] = BEGIN_NS, 20, 0.25, 0.5
    made["chunk_id"], made["tau0_ns"], made["action_rate_hz"] = 3, 40, 30.0
    return made


@pytest.mark.parametrize(("phase", "playing"), [(Phase.RAMP, False), (Phase.FOLLOW, True)])
def test_a_plan_is_read_as_control_wrote_it(phase, playing):
    expected = Followed(5, 7, playing, Playback(BEGIN_NS, 20, 0.25, 0.5, 0.4), 3, 40, 30.0)
    assert followed(record(phase), 0.4) == expected


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.HOMING, Phase.DONE, Phase.ENDED])
def test_without_a_chunk_to_follow_there_is_nothing_to_read(phase):
    assert followed(record(phase), 0.4) is None
