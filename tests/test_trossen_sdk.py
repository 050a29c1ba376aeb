"""The vendor's real package: what we call is there, and the fake arm has the same names, signatures and words."""

import ast
import inspect
import threading
import time
from pathlib import Path

import fake_trossen as fake
import numpy as np
import pytest
import trossen_arm as real
from trossen_rig import CONFIG

from controller.robots.base import RobotError
from controller.robots.trossen import TrossenRobot
from controller.robots.trossen_driver import ArmDriver, load
from controller.robots.trossen_errors import ERRORS, decode
from controller.robots.trossen_inspect import inspect as inspect_arms

FAKE = fake.sdk(fake.Network(fake.Clock()))
STUB = ast.parse((Path(real.__file__).parent / "trossen_arm.pyi").read_text(encoding="utf-8"))
CLOSED = "127.0.0.1"
"""Nobody listens on an arm's port here."""


def stub_class(path):
    body = STUB.body
    for name in path.split("."):
        (found,) = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
        body = found.body
    return body


def signature(function):
    """Names of the arguments and the defaults, of a function of the stub."""
    names = [argument.arg for argument in function.args.args]
    defaults = [ast.unparse(default) for default in function.args.defaults]
    return names[len(names) - len(defaults) :], defaults, names


METHODS = [
    name
    for name, value in vars(FAKE.TrossenArmDriver).items()
    if not name.startswith("_") and callable(getattr(FAKE.TrossenArmDriver, name)) and value is not None
]


@pytest.mark.parametrize("name", METHODS)
def test_the_fake_drivers_methods_have_the_real_ones_arguments(name):
    (found,) = [n for n in stub_class("TrossenArmDriver") if isinstance(n, ast.FunctionDef) and n.name == name]
    with_default, defaults, names = signature(found)
    parameters = inspect.signature(getattr(FAKE.TrossenArmDriver, name)).parameters
    assert list(parameters) == names
    ours = {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert list(ours) == with_default
    for argument, default in zip(with_default, defaults, strict=True):
        assert default == "..." or ast.literal_eval(default) == ours[argument]


@pytest.mark.parametrize("name", ["Model", "Mode", "ErrorState"])
def test_the_enumerations_are_the_real_ones(name):
    members = {member: int(value) for member, value in getattr(real, name).__members__.items()}
    assert {member.name: member.value for member in getattr(fake, name)} == members


def test_the_words_for_errors_and_models_are_the_real_ones():
    told = {int(state): words for state, words in real.ERROR_INFORMATION.items()}
    assert told == {int(state): words for state, words in FAKE.ERROR_INFORMATION.items()}
    assert {str(name) for name in real.MODEL_NAME.values()} == set(FAKE.MODEL_NAME.values())


def test_every_error_of_the_real_package_is_decoded():
    told = {int(state): words for state, words in real.ERROR_INFORMATION.items()}
    assert set(told) == set(ERRORS)
    for state, words in real.ERROR_INFORMATION.items():
        assert ERRORS[int(state)].name == state.name
        if int(state):
            assert decode(f"Error occurred: {words}", told) is ERRORS[int(state)]


def test_the_exceptions_have_the_same_ancestors():
    for name, ancestor in (("RuntimeError", RuntimeError), ("LogicError", AssertionError)):
        assert getattr(real, name).__bases__ == (ancestor,)
        assert getattr(FAKE, name).__bases__ == (ancestor,)


def test_the_end_effectors_are_the_real_ones():
    for name in ("wxai_v0_follower", "wxai_v0_leader", "wxai_v0_base"):
        theirs, ours = getattr(real.StandardEndEffector, name), getattr(fake.StandardEndEffector, name)
        assert isinstance(theirs, real.EndEffector)
        assert theirs.palm.mass == pytest.approx(ours.palm.mass)
        assert len(list(theirs.t_flange_tool)) == len(ours.t_flange_tool)
        assert set(vars(ours)) <= set(dir(theirs))


def test_a_state_has_the_same_fields():
    ours, theirs = fake._output(1, 2, *[()] * 6), real.RobotOutput()  # noqa: SLF001
    for name in vars(ours.header):
        assert hasattr(theirs.header, name)
    for name in vars(ours.joint.all):
        assert len(getattr(theirs.joint.all, name)) == 0


def test_a_limit_has_the_same_fields():
    limit = real.JointLimit()
    for name in ("position_min", "position_max", "velocity_max", "velocity_tolerance"):
        assert isinstance(getattr(limit, name), float)


def test_vectors_are_made_of_numpys():
    assert list(real.VectorDouble(np.arange(7.0))) == list(fake.VectorDouble(np.arange(7.0)))
    np.testing.assert_array_equal(np.fromiter(real.VectorDouble(np.arange(7.0)), np.float64, 7), np.arange(7.0))


CALLS = {
    "goal": (real.VectorDouble([0.0] * 7), 0.005, False, real.VectorDouble([0.0] * 7)),
    "no velocity": (real.VectorDouble([0.0] * 7), 0.005, False, None),
}


@pytest.mark.parametrize("arguments", CALLS.values(), ids=CALLS)
def test_what_we_call_is_refused_by_a_driver_without_an_arm_and_by_nothing_else(arguments):
    for driver in (real.TrossenArmDriver(), FAKE.TrossenArmDriver()):
        with pytest.raises(AssertionError, match="not configured"):
            driver.set_all_positions(*arguments)


@pytest.mark.parametrize("name", ["get_modes", "get_end_effector", "get_joint_limits", "get_error_information"])
def test_a_driver_without_an_arm_refuses(name):
    for driver in (real.TrossenArmDriver(), FAKE.TrossenArmDriver()):
        with pytest.raises(AssertionError, match="not configured"):
            getattr(driver, name)()


def test_a_driver_without_an_arm_gives_states_and_versions_that_are_empty():
    for driver in (real.TrossenArmDriver(), FAKE.TrossenArmDriver()):
        assert not driver.get_is_configured()
        assert len(driver.get_all_positions()) == 0
        assert len(driver.get_robot_output().joint.all.positions) == 0
        assert driver.get_driver_version() == driver.get_controller_version() == ""
        driver.cleanup()


def test_wrong_types_are_refused():
    for package in (real, FAKE):
        driver = package.TrossenArmDriver()
        follower = package.StandardEndEffector.wxai_v0_follower
        with pytest.raises(TypeError):
            driver.configure("wxai_v0", follower, CLOSED, False, 0.1)
        with pytest.raises(TypeError):
            driver.configure(package.Model.wxai_v0, "wxai_v0_follower", CLOSED, False, 0.1)
        with pytest.raises(TypeError):
            driver.set_all_modes("position")


def real_driver(timeout_s=0.2, address=CLOSED):
    config = CONFIG.robot.trossen.model_copy(update={"connect_timeout_s": timeout_s})
    return ArmDriver(load(), "left arm", address, config)


def test_an_arm_that_is_not_there_is_a_clear_error_and_the_driver_can_be_left():
    driver = real_driver()
    assert driver.identify() is None
    with pytest.raises(RobotError, match=r"^left arm \(127.0.0.1\): Failed to connect .* 0\.2\d* seconds; check power"):
        driver.take()
    with pytest.raises(RobotError, match="has 0 joints, expected 7"):
        driver.output()
    with pytest.raises(RobotError, match="not configured; see the log"):
        driver.limits()
    driver.leave()


def test_an_address_that_is_none_is_a_clear_error():
    with pytest.raises(RobotError, match="Invalid IP address: got nobody; correct the address"):
        real_driver(address="nobody").take()


def test_an_unknown_end_effector_is_refused_with_the_real_ones():
    config = CONFIG.robot.trossen.model_copy(update={"end_effector": "claw"})
    with pytest.raises(RobotError, match=r"no_gripper, .*wxai_v0_base, .*wxai_v0_follower"):
        ArmDriver(load(), "left arm", CLOSED, config).take()


def absent():
    """Both arms at addresses of this machine at which nobody listens."""
    trossen = CONFIG.robot.trossen.model_copy(update={"connect_timeout_s": 0.3})
    addresses = {"left_ip": "127.0.0.1", "right_ip": "127.0.0.2", "trossen": trossen}
    return CONFIG.model_copy(update={"robot": CONFIG.robot.model_copy(update=addresses)})


def test_the_kit_that_is_not_there_is_told_of_both_arms():
    robot = TrossenRobot(absent().robot)
    with pytest.raises(RobotError, match=r"left arm \(127.0.0.1\): Failed.*right arm \(127.0.0.2\): Failed"):
        robot.connect()


def test_looking_at_a_kit_that_is_not_there_finds_both_missing():
    found = inspect_arms(absent())
    assert [finding.subject for finding in found] == ["left arm (127.0.0.1)", "right arm (127.0.0.2)"]
    for finding in found:
        assert finding.level.name == "FAIL"
        assert finding.text.startswith("Failed to connect to the arm controller's TCP server at 127.0.0.")
        assert "check power and cable" in finding.next_step


def test_other_threads_go_on_while_a_driver_connects():
    """It gives up Python's lock meanwhile: the motor loop, or the other arm, goes on."""
    driver, ticks = real_driver(0.5), []

    def connect():
        with pytest.raises(RobotError):
            driver.take()

    thread = threading.Thread(target=connect)
    thread.start()
    while thread.is_alive():
        ticks.append(time.monotonic())
        time.sleep(0.001)
    thread.join()
    assert len(ticks) > 20
