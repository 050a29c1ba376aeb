"""The scripted policy: its paths, its answers, and whether the lighter ends up in the cup."""

import math
import random

import numpy as np
import pytest
from closed_loop import ARMS, Loop, done

from controller.robots.base import GRIPPERS
from controller.sim import task
from policy_server.paths import ARM_SPEED, Path
from policy_server.policy import ObservationError
from policy_server.scripted import ACTION_RATE_HZ, CAMERAS, HORIZON, STAGED, Phase, ScriptedPolicy

AT_REST = np.tile(np.append(STAGED, 0.03), 2)
TASK_S = 25.0


def fixed(delay_s):
    return lambda: delay_s


def check_manners(loop):
    """Speeds, accelerations and contacts of the whole run."""
    commands = np.array(loop.commands)[::4]  # the 50 Hz that the policy's actions stand for
    speed = np.diff(commands, axis=0) * 50.0
    assert np.abs(speed[:, ARMS]).max() <= 1.2
    assert np.abs(speed[:, list(GRIPPERS)]).max() <= 0.08
    assert np.abs(np.diff(speed, axis=0) * 50.0)[:, ARMS].max() <= 6.0
    assert ("left", "right") not in loop.contacts
    assert not loop.contacts & {("left", "world"), ("right", "world")}


THOROUGH = pytest.mark.long


@pytest.mark.parametrize(
    ("seed", "delay_s"),
    [(0, 0.08), *(pytest.param(seed, 0.08, marks=THOROUGH) for seed in (1, 2)), (3, 0.0), (4, 0.2), (5, 0.4)],
)
def test_the_lighter_ends_up_in_the_cup(seed, delay_s):
    loop = Loop(seed, fixed(delay_s))
    assert loop.run(TASK_S, done)
    assert loop.phases == list(Phase)
    check_manners(loop)
    np.testing.assert_allclose(loop.robot.read(loop.t_ns).q[ARMS], np.tile(STAGED, 2), atol=0.06)


def test_it_copes_with_delays_that_jump():
    generator = random.Random(6)
    loop = Loop(6, lambda: generator.uniform(0.0, 0.4))
    assert loop.run(TASK_S, done)
    check_manners(loop)


def test_it_copes_with_servos_that_lag():
    loop = Loop(7, fixed(0.08), velocity_feedforward=False)
    assert loop.run(TASK_S, done)


@THOROUGH
def test_played_slower_it_takes_the_same_way():
    """The task at 0.3 of its speed: as well done, and no faster anywhere than that."""
    whole, slow = Loop(1, fixed(0.08), speed=1.0), Loop(1, fixed(0.08), speed=0.3)
    assert whole.run(TASK_S, done)
    assert slow.run(TASK_S / 0.3, done)
    assert slow.phases == list(Phase)
    ways = [np.array(loop.commands)[:, ARMS] for loop in (whole, slow)]
    fastest = [np.abs(np.diff(way, axis=0)).max() / 0.005 for way in ways]
    assert fastest[1] <= 0.3 * 1.2
    apart = np.abs(ways[1][:, None, :] - ways[0][None, ::10, :]).max(axis=2).min(axis=1)
    assert apart.max() < 0.15


@pytest.mark.parametrize(("delay_s", "speed"), [(0.1, 1.0), (0.4, 1.0), pytest.param(0.1, 0.5, marks=THOROUGH)])
def test_with_its_chunks_bound_to_their_predecessors_it_does_the_task(delay_s, speed):
    loop = Loop(2, fixed(delay_s), speed=speed, rtc=True)
    assert loop.run(TASK_S / speed, done)
    check_manners(loop)


def until(phase):
    return lambda loop: loop.phases[-1] is phase


@pytest.mark.parametrize("phase", [pytest.param(Phase.GRASP, marks=THOROUGH), Phase.LIFT, Phase.CARRY])
def test_a_lighter_that_is_snatched_away_is_fetched_again(phase):
    loop = Loop(8, fixed(0.08))
    assert loop.run(TASK_S, until(phase))
    loop.move_lighter(task.layout(9)[:7])
    assert loop.run(2 * TASK_S, done)
    assert loop.phases.count(Phase.RETREAT) >= 2


def test_a_scene_laid_out_anew_after_success_starts_a_new_attempt():
    loop = Loop(10, fixed(0.08))
    assert loop.run(TASK_S, done)
    loop.robot.lay_out(11)
    assert not loop.in_cup
    assert loop.run(TASK_S, lambda loop: not done(loop) and loop.phases[-1] is Phase.GRASP)
    assert loop.run(TASK_S, done)


def test_it_begins_anew_after_it_was_stopped_and_the_arms_were_homed():
    loop = Loop(12, fixed(0.08))
    assert loop.run(TASK_S, until(Phase.LIFT))
    loop.home()
    loop.chunk = loop.old = loop.coming = None
    assert loop.run(2 * TASK_S, done)


def test_it_waits_for_arms_that_do_not_follow():
    loop = Loop(13, fixed(0.08))
    loop.run(2.0)
    loop.frozen = True
    loop.run(3.0)
    assert loop.phases == [Phase.REACH]
    held = loop.robot.read(loop.t_ns).q
    apart = np.abs(loop.target(0.0) - held)[ARMS].max()
    assert apart < 0.4, "the plan ran away from the arms"
    loop.frozen = False
    assert loop.run(TASK_S, done)


class Desk:
    """A session with a clock set by hand."""

    def __init__(self, environment=None):
        self.now_s = 100.0
        self.environment = task.layout(0) if environment is None else environment
        self.session = ScriptedPolicy(seed=0, clock=lambda: self.now_s).new_session()

    def ask(self, q=AT_REST, **changes):
        observation = {"state": q, "environment_state": self.environment, "prompt": "", "images": {}}
        return self.session.infer(observation | changes)["actions"]


def test_chunks_are_pieces_of_one_motion():
    desk = Desk()
    chunk = desk.ask()
    worst = 0.0
    for _ in range(12):
        desk.now_s += 0.1
        following = desk.ask(q=chunk[5])
        worst = max(worst, np.abs(following[:-5] - chunk[5:]).max())
        chunk = following
    assert worst < 1e-9
    assert np.abs(chunk - AT_REST).max() > 0.1


def test_a_first_chunk_begins_where_the_robot_is():
    shifted = AT_REST.copy()
    shifted[3] += 0.05
    np.testing.assert_allclose(Desk().ask(q=shifted)[0], shifted, atol=1e-9)


def test_from_elsewhere_it_first_goes_to_the_staged_pose():
    desk = Desk()
    desk.ask(q=np.tile([0.3, 1.5, 1.0, 0.2, 0.0, 0.0, 0.0], 2))
    assert desk.session.phase is Phase.RETREAT


def test_with_the_lighter_in_the_cup_it_rests():
    environment = task.layout(0)
    environment[:3] = (*environment[7:9], environment[9] + 0.05)
    desk = Desk(environment)
    np.testing.assert_allclose(desk.ask(), np.tile(AT_REST, (HORIZON, 1)))
    assert desk.session.phase is Phase.REST


def test_its_place_on_the_path_is_the_policy_s_time_where_that_is_told():
    """The clock of the wall says 100 ms between two observations, the policy's time 30 ms, and that counts."""
    played, own = Desk(), Desk()
    played.ask(playback_s=2.0)
    own.ask()
    for step in range(1, 8):
        played.now_s += 0.1
        own.now_s += 0.03
        slow, real = played.ask(playback_s=2.0 + 0.03 * step), own.ask()
    np.testing.assert_allclose(slow, real, atol=1e-9)


def test_while_the_policy_s_time_stands_the_plan_stands():
    desk = Desk()
    first = desk.ask(playback_s=0.0)
    desk.now_s += 1.0
    np.testing.assert_array_equal(desk.ask(playback_s=0.0), first)


def test_a_new_run_starts_over():
    desk = Desk()
    desk.ask(playback_s=7.0)
    desk.now_s += 0.1
    desk.ask(playback_s=7.1)
    desk.now_s += 0.1
    shifted = AT_REST.copy()
    shifted[1] += 0.03
    np.testing.assert_allclose(desk.ask(q=shifted, playback_s=0.0)[0], shifted, atol=1e-9)


@pytest.mark.parametrize("played", [-0.1, math.nan, math.inf, 1e8, "2", 1])
def test_an_impossible_playback_is_refused(played):
    with pytest.raises(ObservationError, match="playback_s"):
        Desk().ask(playback_s=played)


def test_a_chunk_continues_the_rest_that_it_is_given():
    plain = Desk().ask()
    rest = plain[:40] + 0.05
    bound = Desk().ask(rtc={"actions": rest, "delay_steps": 6})
    np.testing.assert_array_equal(bound[:6], rest[:6])
    np.testing.assert_allclose(bound[40:], plain[40:], atol=1e-12)
    apart = np.abs(bound - plain)[:, 0]
    assert (np.diff(apart[6:41]) <= 1e-9).all(), "it lets go of the rest little by little"


def test_what_it_says_of_itself():
    info = ScriptedPolicy().info
    assert info.cameras == CAMERAS
    assert info.image_size == (224, 224)
    assert (info.action_rate_hz, info.action_horizon, info.action_dim) == (ACTION_RATE_HZ, HORIZON, 14)
    assert info.extensions == {"environment_state", "observation_age_s", "playback_s", "rtc"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"state": np.zeros(7)}, r"'state' has shape \(7,\)"),
        ({"state": np.full(14, math.nan)}, "'state' holds non-finite"),
        ({"state": "left"}, "'state' must be 14 numbers"),
        ({"state": np.full(14, 1e6)}, "send at most ±6.283 rad"),
        ({"environment_state": np.zeros(13)}, r"'environment_state' has shape \(13,\)"),
        ({"environment_state": np.full(14, math.inf)}, "'environment_state' holds non-finite"),
        ({"environment_state": np.zeros(14)}, "lighter's quaternion has length 0"),
        ({"environment_state": np.array([0.9, 0.5, 0, 1, 0, 0, 0] * 2)}, "out of reach"),
    ],
)
def test_an_unusable_observation_is_refused_by_name(changes, text):
    with pytest.raises(ObservationError, match=text):
        Desk().ask(**changes)


@pytest.mark.parametrize("key", ["state", "environment_state"])
def test_a_missing_part_is_named(key):
    observation = {"state": AT_REST, "environment_state": task.layout(0)}
    del observation[key]
    with pytest.raises(ObservationError, match=f"lacks '{key}'"):
        ScriptedPolicy().new_session().infer(observation)


def test_read_only_observations_are_left_alone():
    desk = Desk()
    q = AT_REST.copy()
    q.flags.writeable = False
    desk.environment.flags.writeable = False
    assert np.isfinite(desk.ask(q=q)).all()


def test_a_path_meets_its_ends_at_rest_and_keeps_its_speed():
    left = [np.zeros(7), np.full(7, 0.5), np.full(7, -0.3)]
    right = [np.ones(7), np.full(7, 1.2)]
    path = Path(left, right)
    t_s = np.linspace(-0.5, path.duration_s + 0.5, 2000)
    q = path.at(t_s)
    np.testing.assert_array_equal(q[0], np.concatenate((left[0], right[0])))
    np.testing.assert_array_equal(q[-1], np.concatenate((left[-1], right[-1])))
    speed = np.diff(q, axis=0) / np.diff(t_s)[:, None]
    assert (np.abs(speed) <= np.tile(ARM_SPEED, 2) * 1.001).all()
    near_ends = (t_s[:-1] < 0.01) | (t_s[:-1] > path.duration_s - 0.02)
    assert np.abs(speed[near_ends]).max() < 0.05


def test_a_path_of_one_point_stays_there():
    path = Path([np.ones(7)], [np.zeros(7)])
    np.testing.assert_array_equal(path.at(np.array([0.0, 9.0])), np.tile(np.repeat([1.0, 0.0], 7), (2, 1)))


def test_the_place_on_the_path_is_that_of_the_observation_not_of_its_arrival():
    """The same moment of the motion, told at once and told 80 ms late, is the same plan."""

    def second_answer(late_s):
        desk = Desk()
        chunk = desk.ask()
        desk.now_s += 0.5 + late_s
        return desk.ask(q=chunk[25], observation_age_s=late_s)

    np.testing.assert_allclose(second_answer(0.0), second_answer(0.08), atol=1e-9)


@pytest.mark.parametrize("age", [-0.1, math.nan, 1e9, "old", 1])
def test_an_impossible_age_is_refused(age):
    with pytest.raises(ObservationError, match="observation_age_s"):
        Desk().ask(observation_age_s=age)
