"""The policy's time: its speed is the derivative of its value, it never jumps and never runs backwards."""

import numpy as np
import pytest

from controller.playback import Playback

MS = 1_000_000


def test_it_stands_until_it_is_started():
    playback = Playback.standing(5 * MS, 0.4)
    assert [playback.at(t * MS) for t in (0, 5, 1000)] == [0, 0, 0]
    assert playback.speed(1000 * MS) == 0.0


def test_at_full_speed_it_passes_as_real_time_does():
    playback = Playback(0, 0, 1.0, 1.0, 0.4)
    assert playback.at(700 * MS) == 700 * MS
    assert playback.at(-300 * MS) == -300 * MS


@pytest.mark.parametrize("speeds", [(0.0, 1.0, 0.3), (1.0, 0.05, 0.7)])
def test_speed_is_the_derivative_and_both_are_continuous(speeds):
    playback = Playback(0, 0, speeds[0], speeds[0], 0.4).towards(speeds[1], 0)
    playbacks = [(0, playback), (250, playback.towards(speeds[2], 250 * MS))]  # in the middle of the ramp
    t_ms = np.arange(0, 1200)

    def at(t):
        return next(p for begin, p in reversed(playbacks) if t >= begin)

    tau = np.array([at(t).at(int(t) * MS) for t in t_ms]) / MS
    speed = np.array([at(t).speed(int(t) * MS) for t in t_ms])
    np.testing.assert_allclose(np.diff(tau), (speed[1:] + speed[:-1]) / 2, atol=1e-4)
    assert np.abs(np.diff(speed)).max() < 0.006  # a whole change takes 0.4 s: 1.5 / 400 per ms at most
    assert (np.diff(tau) >= 0).all()
    assert speed[-1] == speeds[2]


def test_what_was_played_before_a_change_stays_where_it_was():
    steady = Playback(0, 0, 1.0, 1.0, 0.4)
    slower = steady.towards(0.1, 1_000 * MS)
    again = slower.towards(0.2, 1_300 * MS)  # within the ramp
    for t_ms in (1_050, 1_200, 1_299):
        assert again.at(t_ms * MS) == slower.at(t_ms * MS)
    assert slower.at(700 * MS) == 700 * MS
    assert again.before.before is None, "nothing is kept for ever"


def test_to_the_speed_it_has_it_is_itself():
    playback = Playback(0, 0, 0.0, 0.5, 0.4)
    assert playback.towards(0.5, 100 * MS) is playback
