"""The lerobot adapter against a robot that a test plays: it moves nothing by itself and believes nothing unsaid."""

import logging
import re

import numpy as np
import pytest
from lerobot_rig import HOME, FakeRobot, lerobot_config, lerobot_toml

from controller import adapters, lerobot_library
from controller.board import OwnedBoard
from controller.config import ConfigError, parse
from controller.processes import table
from controller.robots import factory
from controller.robots.base import JOINT_NAMES, N_JOINTS, RobotError
from controller.robots.lerobot import LerobotRobot

Q = np.array([HOME[name] for name in JOINT_NAMES])
STILL = np.zeros(N_JOINTS)
RAD = {"arm": "rad", "gripper": "m"}


class Clock:
    """Each look takes `step_ns`."""

    def __init__(self):
        self.t_ns, self.step_ns = 10**9, 1000

    def __call__(self):
        self.t_ns += self.step_ns
        return self.t_ns


@pytest.fixture
def fake(monkeypatch):
    """The robot that LeRobot would make; `made` has what it was asked for."""
    robot = FakeRobot()
    robot.made, robot.own = [], []
    monkeypatch.setattr(lerobot_library, "make_robot", lambda kind, config: robot.made.append((kind, config)) or robot)
    monkeypatch.setattr(lerobot_library, "finalizers", lambda _: robot.own)
    return robot


def adapter(clock=None, again=False, **table):
    config = lerobot_config(**table).robot
    return LerobotRobot(config, again=again, world_writer=None, world_reader=None, clock=clock or Clock())


def test_connecting_holds_the_arms_where_they_are(fake):
    robot = adapter(config={"seed": 4})
    assert fake.made == [("pi0sim", {"seed": 4})]
    state = robot.connect()
    assert fake.called[:2] == ["connect(calibrate=False)", "get_observation"]
    assert fake.sent == [fake.q]
    np.testing.assert_array_equal(state.q, Q)


def test_commands_and_readings_go_by_name(fake):
    robot = adapter()
    robot.connect()
    robot.write(0, Q + 0.001, STILL)
    assert fake.sent[-1]["right_joint_5.pos"] == pytest.approx(HOME["right_joint_5"] + 0.001)
    fake.q["left_joint_0.pos"] = 0.7
    assert robot.read(123).q[0] == 0.7


def test_a_reading_is_stamped_with_the_instant_it_was_asked_for(fake):
    assert adapter().read(123).t_ns == 123


def test_velocity_is_the_difference_of_positions_where_the_robot_does_not_tell_it(fake):
    robot = adapter()
    assert (robot.read(1_000_000_000).qd == 0.0).all()
    fake.q["left_joint_0.pos"] += 0.01
    state = robot.read(1_005_000_000)
    assert state.qd[0] == pytest.approx(2.0)
    assert (state.qd[1:] == 0.0).all()
    assert (robot.read(1_005_000_000).qd == 0.0).all(), "no time has passed"


def test_a_type_that_moves_on_connecting_is_refused_before_anything_is_loaded(fake):
    with pytest.raises(RobotError, match=r"connect\(\) of 'bi_widowxai_follower' drives one arm after") as error:
        adapter(type="bi_widowxai_follower")
    assert "allow_moves = ['connect']" in str(error.value)
    assert "robot.kind = 'trossen' drives the same arms and moves nothing" in str(error.value)
    assert fake.made == []


def test_a_type_that_nobody_here_knows_is_taken_to_move(fake):
    with pytest.raises(RobotError, match="may drive the arms anywhere, for all that is known here") as error:
        adapter(type="my_kit", units=RAD)
    assert "trossen" not in str(error.value)
    with pytest.raises(RobotError, match="the units of 'my_kit' are not known here"):
        adapter(type="my_kit", allow_moves=["connect"])
    adapter(type="my_kit", allow_moves=["connect"], units=RAD)


def test_arms_are_never_moved_by_connecting_again(fake):
    """The motor process is started again after a loss, and that shall not move anything."""
    wanted = {"type": "bi_widowxai_follower_robot", "allow_moves": ["connect", "disconnect"]}
    with pytest.raises(RobotError, match=r"so it is called once, at the start of the controller.*start the controller"):
        adapter(again=True, **wanted)
    assert fake.made == []
    adapter(**wanted)
    adapter(again=True)  # moves nothing


def test_units_that_contradict_a_known_type_are_refused(fake):
    with pytest.raises(RobotError, match="units are deg and m, but 'pi0sim' has rad and m"):
        adapter(units={"arm": "deg", "gripper": "m"})


def test_leaving_calls_disconnect_only_where_that_moves_nothing_or_is_wanted(fake):
    for settings, called in [
        ({}, True),
        ({"type": "my_kit", "units": RAD, "allow_moves": ["connect"]}, False),
        ({"type": "my_kit", "units": RAD, "allow_moves": ["connect", "disconnect"]}, True),
    ]:
        fake.called.clear()
        robot = adapter(**settings)
        robot.connect()
        robot.disconnect()
        assert ("disconnect" in fake.called) is called, settings


class Arm:
    def __init__(self, fails=False):
        self.driver, self.fails, self.closed = self, fails, 0

    def cleanup(self):
        self.closed += 1
        if self.fails:
            raise RuntimeError("no answer")


def test_arms_that_would_move_on_disconnecting_have_their_drivers_closed_both_of_them(fake, caplog):
    fake.left_arm, fake.right_arm = Arm(fails=True), Arm()
    robot = adapter(type="bi_widowxai_follower_robot", allow_moves=["connect"])
    robot.connect()
    robot.disconnect()
    assert (fake.left_arm.closed, fake.right_arm.closed) == (1, 1)
    assert "disconnect" not in fake.called
    assert "left_arm.driver.cleanup failed" in caplog.text


def test_arms_of_which_one_cannot_be_connected_are_both_let_go_and_not_moved(fake):
    fake.left_arm, fake.right_arm = Arm(), Arm()
    fake.fails["connect(calibrate=False)"] = ConnectionError("the right arm does not answer")
    robot = adapter(type="bi_widowxai_follower_robot", allow_moves=["connect", "disconnect"])
    with pytest.raises(RobotError, match="the right arm does not answer"):
        robot.connect()
    assert (fake.left_arm.closed, fake.right_arm.closed) == (1, 1)
    assert "disconnect" not in fake.called


def test_a_robot_that_would_disconnect_itself_is_refused(fake):
    fake.own = ["MyKit"]
    known = {"type": "my_kit", "units": RAD}
    with pytest.raises(RobotError, match=r"MyKit may disconnect by itself when this process ends \(__del__\)"):
        adapter(**known, allow_moves=["connect"])
    adapter(**known, allow_moves=["connect", "disconnect"])
    adapter()  # its disconnect() moves nothing


def test_a_robot_without_calibration_is_never_calibrated_here(fake):
    fake.is_calibrated = False
    with pytest.raises(RobotError, match="is not calibrated; run lerobot-calibrate"):
        adapter().connect()
    assert fake.sent == []


def test_a_robot_in_another_unit_is_refused_before_anything_is_commanded(fake):
    fake.q = {name: 57.3 * value for name, value in fake.q.items()}
    fake.q["left_joint_1.pos"] = 60.0
    with pytest.raises(RobotError, match=r"'pi0sim': left_joint_1 reads 60\.000, outside 0\.001\.\.3\.141"):
        adapter().connect()
    assert fake.sent == []


def test_a_reading_that_is_no_number_is_neither_commanded_nor_hidden(fake):
    fake.q["left_joint_1.pos"] = float("nan")
    assert np.isnan(adapter().connect().q[1])
    assert fake.sent == []
    with pytest.raises(RobotError, match="non-finite command refused"):
        adapter().write(0, np.full(N_JOINTS, np.nan), STILL)


@pytest.mark.parametrize("error", [ConnectionError("gone"), AssertionError("gone"), KeyError("gone")])
def test_whatever_the_robot_raises_is_its_error_with_the_call_named(fake, error):
    robot = adapter()
    robot.connect()
    fake.fails = {"get_observation": error, "send_action": error, "connect(calibrate=False)": error}
    name = type(error).__name__
    for call, ask in [("get_observation", lambda: robot.read(0)), ("send_action", lambda: robot.write(0, Q, STILL))]:
        with pytest.raises(RobotError, match=f"LeRobot robot 'pi0sim': {call}: {name}: .*gone"):
            ask()
    with pytest.raises(RobotError, match=f"connect: {name}"):
        robot.connect()
    fake.fails = {"disconnect": error}
    robot.disconnect()  # must not raise


def test_what_lerobot_says_against_it_is_told(monkeypatch):
    def refuse(_kind, _config):
        raise lerobot_library.LerobotError("type 'pi0sim' is not known to LeRobot here; known: lekiwi")

    monkeypatch.setattr(lerobot_library, "make_robot", refuse)
    with pytest.raises(RobotError, match="type 'pi0sim' is not known to LeRobot here; known: lekiwi"):
        adapter()


def test_a_robot_with_other_joints_is_refused_before_it_is_connected(fake):
    del fake.action_features["left_joint_0.pos"]
    with pytest.raises(RobotError, match=r"'pi0sim': left_joint_0: action feature 'left_joint_0.pos' is not there"):
        adapter()
    assert fake.called == []


def test_calls_longer_than_a_tick_are_counted_and_told_ever_more_rarely(fake, caplog):
    clock = Clock()
    robot = adapter(clock)
    robot.connect()
    clock.step_ns = 5_000_001  # the bound is 5 ms at 200 Hz
    for _ in range(9):
        robot.read(0)
    assert caplog.text.count("calls longer than a tick") == 4  # the 1st, 2nd, 4th and 8th
    with caplog.at_level(logging.INFO):
        robot.disconnect()
    assert "calls longer than a tick of 5.0 ms: 9, longest 5.0 ms" in caplog.text


class Scene(FakeRobot):
    def attach_world(self, writer, reader):
        self.world = writer, reader

    def lay_out(self, seed, scene_count=None):
        self.scene = seed, scene_count


def test_the_factory_hands_a_simulation_its_world(monkeypatch):
    scene = Scene()
    monkeypatch.setattr(lerobot_library, "make_robot", lambda *_: scene)
    monkeypatch.setattr(lerobot_library, "finalizers", lambda _: [])
    config = lerobot_config()
    board = OwnedBoard(config)
    try:
        robot, layable = factory.make(config, board.rings["world"], False)
        layable.lay_out(7, 3)
        assert isinstance(robot, LerobotRobot)
        assert scene.scene == (7, 3)
        assert all(hasattr(end, method) for end, method in zip(scene.world, ("write", "newest"), strict=True))
    finally:
        board.close()


def test_a_robot_of_another_make_has_no_scene(fake):
    assert adapter().scene is None


MISTAKES = {
    "robot.lerobot: missing type": ({"config": {}}, None, "robot.lerobot.type: missing"),
    "a joint that is not ours": ({"type": "x", "names": {"elbow": "elbow.pos"}}, None, "'elbow' is no joint of ours"),
    "a unit": ({"type": "x", "units": {"arm": "turns", "gripper": "m"}}, None, "robot.lerobot.units.arm = 'turns'"),
    "a move": ({"type": "x", "allow_moves": ["calibrate"]}, None, "robot.lerobot.allow_moves[0] = 'calibrate'"),
    "cameras": ({"type": "x", "config": {"cameras": {"a": {}}}}, None, "move them to [cameras], one process each"),
    "type twice": ({"type": "x", "config": {"type": "y"}}, None, "type stands beside config, not in it"),
    "camera without a table": ({"type": "x"}, {"kind": "lerobot"}, "kind = 'lerobot' needs lerobot: { type = ..."),
    "size twice": (
        {"type": "x"},
        {"kind": "lerobot", "lerobot": {"type": "opencv", "config": {"fps": 30}}},
        "fps stands outside of config, as rate_hz",
    ),
    "a simulated camera of another robot": ({"type": "x"}, {"kind": "sim"}, "'sim' needs robot.kind = 'sim'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_configuration_is_told(name):
    table, camera, message = MISTAKES[name]
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(lerobot_toml(table, camera), "lab.toml")


def test_the_table_must_be_there():
    text = lerobot_toml({"type": "x"}).split("[robot.lerobot]")[0]
    with pytest.raises(ConfigError, match=r"kind = 'lerobot' needs a table \[robot\.lerobot\]"):
        parse(text, "lab.toml")
    with pytest.raises(ConfigError, match=r"\[robot\.lerobot\] is a matter of kind = 'lerobot', not of 'sim'"):
        parse(lerobot_toml({"type": "x"}).replace('kind = "lerobot"', 'kind = "sim"'), "lab.toml")


def test_the_simulated_kit_may_have_simulated_cameras():
    config = parse(lerobot_toml({"type": "pi0sim"}, {"kind": "sim"}), "lab.toml")
    assert config.robot.is_simulated
    assert not lerobot_config(type="my_kit").robot.is_simulated


def test_without_lerobot_the_daemon_says_what_to_install(monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "lerobot" else object())
    assert "uv pip install -e '.[lerobot]'" in adapters.lacking(lerobot_config())
    monkeypatch.setattr(adapters, "find_spec", lambda name: object())
    assert adapters.lacking(lerobot_config()) == ""


def test_a_robot_that_would_be_refused_is_refused_before_the_daemon_starts(monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: object())
    assert "may drive the arms anywhere" in adapters.lacking(lerobot_config(type="my_kit"))
    assert "the units of 'my_kit'" in adapters.lacking(lerobot_config(type="my_kit", allow_moves=["connect"]))
    assert adapters.lacking(lerobot_config(type="my_kit", allow_moves=["connect"], units=RAD)) == ""


def test_the_motor_process_is_given_time_to_load_lerobot():
    rows = {row.name: row for row in table(lerobot_config())}
    assert rows["motor"].start_s > rows["control"].start_s
