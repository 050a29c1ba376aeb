"""The policy with two ways round a pillar, in ideal rollouts: arms that are where they are commanded to be."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from policy_server.bimodal import (
    ACTION_RATE_HZ,
    BERTH_M,
    GOAL_M,
    HEIGHT_M,
    PILLAR_M,
    PILLAR_RADIUS_M,
    PITCH_RAD,
    SIDES,
    START_M,
    BimodalPolicy,
    at_goal,
    chunk,
    hand,
    in_pillar,
    side_of,
)
from policy_server.policy import ObservationError
from policy_server.tabletop import OPEN_M, STAGED, reach

HOME = np.tile(np.append(STAGED, OPEN_M), 2)
SEEDS = range(12)
LONG_S = 10.0


@dataclass
class Ride:
    """What a rollout came to. sides: which way each answer took, where it got beside the pillar."""

    hit: bool
    arrived: bool
    places: np.ndarray
    commands: np.ndarray
    sides: list

    @property
    def well_done(self):
        return self.arrived and not self.hit

    @property
    def turns(self):
        return int(np.count_nonzero(np.diff(self.sides)))


def side_taken(actions):
    """On which side of the line from start to goal a chunk gets farthest from it."""
    along = (GOAL_M - START_M) / np.linalg.norm(GOAL_M - START_M)
    off = [along[0] * y - along[1] * x for x, y in (hand(q)[:2] - START_M for q in actions[::7])]
    return math.copysign(1.0, off[int(np.argmax(np.abs(off)))])


def ride(answer, delay=5, rtc=False, always=None):
    """Ask every `delay` steps, switch to the answer hard, `delay` steps after the question.

    answer: observation -> actions. The first answer is begun with at its action 0, as control does.
    """
    q, commands, places, sides = HOME, [], [], []
    plan, asked = answer({"state": q}), None
    t0 = t_asked = 0
    for t in range(round(LONG_S * ACTION_RATE_HZ)):
        if asked is None:
            observation = {"state": q}
            left = plan[t - t0 :]
            if rtc and len(left):
                observation["rtc"] = {"actions": left, "delay_steps": min(delay, len(left))}
            asked, t_asked = answer(observation), t
            if np.linalg.norm(hand(q)[:2] - PILLAR_M) > PILLAR_RADIUS_M and hand(q)[0] < PILLAR_M[0]:
                sides.append(side_taken(asked))
        if t >= t_asked + delay:
            plan, t0, asked = asked, t_asked, None
        q = plan[min(t + 1 - t0, len(plan) - 1)]
        commands.append(q)
        places.append(hand(q))
        if at_goal(places[-1]) and t > 1 and np.abs(commands[-1] - commands[-2]).max() < 1e-6:
            break
    return Ride(any(map(in_pillar, places)), at_goal(places[-1]), np.array(places), np.array(commands), sides)


def of_seed(seed):
    session = BimodalPolicy(seed).new_session()
    return lambda observation: session.infer(observation)["actions"]


@pytest.fixture(scope="module")
def coin_rides():
    return [ride(of_seed(seed)) for seed in SEEDS]


@pytest.mark.parametrize("side", SIDES)
def test_either_way_alone_does_the_task(side):
    done = ride(lambda seen: chunk(seen["state"], side))
    assert done.well_done
    assert done.turns == 0
    speed = np.linalg.norm(np.diff(done.places, axis=0), axis=1) * ACTION_RATE_HZ
    assert 0.14 < speed.max() < 0.16
    np.testing.assert_allclose(done.places[:, 2], HEIGHT_M, atol=1e-3)
    nearest = np.linalg.norm(done.places[:, :2] - PILLAR_M, axis=1).min()
    assert PILLAR_RADIUS_M + 0.03 < nearest <= BERTH_M + 1e-3
    acceleration = np.abs(np.diff(done.commands, 2, axis=0)).max() * ACTION_RATE_HZ**2
    assert acceleration < 4.0
    assert len(done.commands) / ACTION_RATE_HZ > 3.0


def test_the_ways_are_each_other_s_mirror_image():
    near, far = (np.array([hand(q)[:2] for q in chunk(HOME, side)[::7]]) for side in SIDES)
    along = (GOAL_M - START_M) / np.linalg.norm(GOAL_M - START_M)
    across = np.array((-along[1], along[0]))
    np.testing.assert_allclose((near - START_M) @ along, (far - START_M) @ along, atol=1e-3)
    np.testing.assert_allclose((near - START_M) @ across, -(far - START_M) @ across, atol=1e-3)


def test_unbound_it_has_two_ways_and_nothing_in_between():
    session = BimodalPolicy(0).new_session()
    answers = [session.infer({"state": HOME})["actions"] for _ in range(40)]
    ways = {side: chunk(HOME, side) for side in SIDES}
    taken = [side for answer in answers for side in SIDES if np.array_equal(answer, ways[side])]
    assert len(taken) == len(answers), "each answer is one of the two ways to the bit"
    assert 10 <= taken.count(1.0) <= 30


def test_switching_between_its_answers_dithers_into_the_pillar(coin_rides):
    assert np.mean([done.turns for done in coin_rides]) > 3
    assert np.mean([done.well_done for done in coin_rides]) < 0.6
    assert any(done.hit for done in coin_rides)


@pytest.mark.parametrize("delay", [2, 5, 10, 20])
def test_bound_to_what_is_left_it_keeps_its_way(delay):
    for seed in SEEDS:
        done = ride(of_seed(seed), delay, rtc=True)
        assert done.well_done, seed
        assert done.turns == 0, seed
        acceleration = np.abs(np.diff(done.commands, 2, axis=0)).max() * ACTION_RATE_HZ**2
        assert acceleration < 5.0, "no seam is felt"


def test_both_ways_are_taken_by_bound_runs_too():
    first = {side_taken(BimodalPolicy(seed).new_session().infer({"state": HOME})["actions"]) for seed in SEEDS}
    assert first == set(SIDES)


def test_a_bound_chunk_begins_with_the_rest():
    rest = chunk(HOME, 1.0)[3:] + 1e-3
    bound = BimodalPolicy(1).new_session().infer({"state": HOME, "rtc": {"actions": rest, "delay_steps": 4}})
    np.testing.assert_array_equal(bound["actions"][:4], rest[:4])
    assert side_taken(bound["actions"]) == 1.0


def test_a_chunk_begins_at_the_observed_joints():
    q = HOME + np.linspace(-0.05, 0.05, 14)
    np.testing.assert_allclose(chunk(q, 1.0)[0], q, atol=1e-12)


@pytest.mark.parametrize("along_m", [-0.04, 0.0, 0.1, 0.2, 0.36, 0.40])
@pytest.mark.parametrize("across_m", [-0.12, 0.0, 0.12])
def test_from_wherever_the_hand_may_be_it_gets_to_the_goal(along_m, across_m):
    along = (GOAL_M - START_M) / np.linalg.norm(GOAL_M - START_M)
    place = START_M + along_m * along + across_m * np.array((-along[1], along[0]))
    q = HOME.copy()
    q[:6] = reach("left", np.append(place, HEIGHT_M), PITCH_RAD, 0.0)
    for side in SIDES:
        rows = chunk(q, side)
        for _ in range(6):
            rows = chunk(rows[-1], side)
        assert at_goal(hand(rows[-1]))
        np.testing.assert_allclose(chunk(rows[-1], side), np.tile(rows[-1], (50, 1)), atol=1e-3)
        assert np.abs(np.diff(chunk(q, side), axis=0)).max() * ACTION_RATE_HZ < 1.5


@pytest.mark.parametrize("side", SIDES)
def test_beside_the_pillar_the_hand_s_own_place_decides(side):
    q = next(q for q in ride(lambda seen: chunk(seen["state"], side)).commands if side_of(hand(q)))
    other = chunk(HOME, -side)[:30]
    session = BimodalPolicy(0).new_session()
    for _ in range(8):
        assert side_taken(session.infer({"state": q})["actions"]) == side
        bound = session.infer({"state": q, "rtc": {"actions": other, "delay_steps": 0}})["actions"]
        assert side_taken(bound[-8:]) == side


def test_the_same_seed_makes_the_same_choices():
    def choices(seed):
        session = BimodalPolicy(seed).new_session()
        return [side_taken(session.infer({"state": HOME})["actions"]) for _ in range(12)]

    assert choices(3) == choices(3)
    assert choices(3) != choices(4)


def test_the_task_begins_where_the_staged_hand_is_and_has_room():
    np.testing.assert_allclose(hand(HOME), np.append(START_M, HEIGHT_M), atol=1e-3)
    assert not in_pillar(hand(HOME))
    assert in_pillar(np.append(PILLAR_M, HEIGHT_M))
    assert not at_goal(hand(HOME))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": np.zeros(7)}, r"'state' has shape \(7,\)"),
        ({"state": np.full(14, math.nan)}, "'state' holds non-finite"),
        ({"state": HOME + np.eye(14)[1]}, r"left hand at \[.*\] m, more than \[0.05, 0.13, 0.05\].*home first"),
        ({"state": HOME + np.eye(14)[0] * 3.0}, "left hand at .* from the line from"),
        ({"rtc": {"actions": np.zeros((51, 14)), "delay_steps": 0}}, "has 51 steps"),
    ],
)
def test_an_unusable_observation_is_refused_by_name(changes, text):
    with pytest.raises(ObservationError, match=text):
        BimodalPolicy().new_session().infer({"state": HOME} | changes)
