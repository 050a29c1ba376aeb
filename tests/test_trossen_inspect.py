"""What `pi0ctl doctor` is told of the arms: all there is to know, and nothing moves."""

import pytest
from fake_trossen import RAISED, ErrorState, Mode
from trossen_causes import REFUSALS, nothing_measured, owned, slow, unreachable
from trossen_rig import CONFIG, Arms, Inline

from controller.config import load, shipped
from controller.findings import Level, worst
from controller.robots import factory, trossen_inspect
from controller.robots.trossen_inspect import inspect


@pytest.fixture
def arms():
    return Arms(q=RAISED)


def look(rig):
    found = inspect(CONFIG, sdk=rig.sdk, thread=Inline)
    for arm, driver in zip(rig.arms, rig.drivers, strict=True):
        assert arm.modes == [Mode.idle] * 7, "never in position mode"
        assert arm.owner is not driver, "let go"
        assert driver.calls[-1] == "cleanup"
        assert {call for call in driver.calls if isinstance(call, str)} <= {"configure", "cleanup"}
        assert not any(isinstance(call, tuple) for call in driver.calls), "nothing is commanded"
    return found


def test_a_kit_that_is_well_is_told_line_by_line(arms):
    found = look(arms)
    assert worst(found) is Level.OK
    told = {finding.subject: finding.text for finding in found}
    assert told == {
        f"{arm} ({address}){what}": text
        for arm, address in (("left arm", CONFIG.robot.left_ip), ("right arm", CONFIG.robot.right_ip))
        for what, text in (
            (" versions", "driver 1.11.0, firmware 1.11.1"),
            (" model", "wxai_v0"),
            (" error", "none"),
            (" connection", "taken, braked"),
            (" end effector", "wxai_v0_follower"),
            (" limits", "ours lie inside those that the arm enforces"),
            (" rest", "fastest: joint_0 at 0.000 (bound 0.1)"),
            (" position", "inside the range; nearest to its edge: left_carriage_joint"),
            (" temperature", "joint_0 at 33 °C (bound 65)"),
        )
    }


@pytest.mark.parametrize("cause", REFUSALS, ids=lambda cause: cause.__name__)
def test_what_would_be_refused_is_found_and_the_other_arm_is_looked_at_too(arms, cause):
    cause(arms)
    found = look(arms)
    failed = {finding.subject.split(" (")[0] for finding in found if finding.level is Level.FAIL}
    assert len(failed) == 1
    (other,) = {"left arm", "right arm"} - failed
    assert any(finding.subject.startswith(other) and "connection" in finding.subject for finding in found)


@pytest.mark.parametrize("cause", [unreachable, owned])
def test_an_arm_that_cannot_be_had_may_be_the_daemons(arms, cause):
    cause(arms)
    (failed,) = [finding for finding in look(arms) if finding.level is Level.FAIL]
    assert "Failed to connect" in failed.text
    assert failed.next_step.endswith("stop the daemon if it has the arms")
    assert "within 3 seconds" in failed.text, "not as long as connecting may take"


def test_an_arm_in_error_is_not_taken_and_not_cleared(arms):
    arms.right.fail(ErrorState.can_init_failed)
    (failed,) = [finding for finding in look(arms) if finding.level is Level.FAIL]
    assert failed.text == "2 can_init_failed: the controller could not start the bus to its joints"
    assert "off and on" in failed.next_step
    assert "configure" not in arms.drivers[1].calls
    assert arms.right.cleared == 0


def test_an_error_that_this_version_does_not_know_is_told_by_its_number(arms):
    identify = arms.sdk.TrossenArmDriver.discover

    def newer(*arguments):
        (found,) = identify(*arguments)
        found.error_state = 99
        return [found]

    arms.sdk.TrossenArmDriver.discover = staticmethod(newer)
    assert {f.text for f in look(arms) if f.level is Level.FAIL} == {"99, unknown to this version"}


def test_a_warm_arm_is_a_warning(arms):
    arms.left.rotor[3] = 71.0
    (warm,) = [finding for finding in look(arms) if finding.level is not Level.OK]
    assert (warm.level, warm.text) == (Level.WARN, "joint_3 at 71 °C (bound 65)")


@pytest.mark.parametrize("cause", [slow, nothing_measured])
def test_an_arm_is_let_go_whatever_is_found(arms, cause):
    cause(arms)
    look(arms)


def test_an_arm_that_cannot_be_let_go_is_told(arms):
    def fail(self, reboot_controller=False):
        self.calls.append("cleanup")
        self._arm.owner = None
        raise arms.sdk.RuntimeError("TCP connection closed unexpectedly")

    arms.sdk.TrossenArmDriver.cleanup = fail
    failed = [finding for finding in look(arms) if finding.level is Level.FAIL]
    assert [finding.text for finding in failed] == ["TCP connection closed unexpectedly"] * 2


def test_a_driver_that_does_not_return_is_told(arms, monkeypatch):
    monkeypatch.setattr(trossen_inspect, "ANSWER_S", 0.01)

    class Hanging(Inline):
        def __init__(self, name):
            super().__init__(name)
            self.hangs = True

    found = inspect(CONFIG, sdk=arms.sdk, thread=Hanging)
    assert [finding.text for finding in found] == ["the driver does not return within 0.01 s"] * 2


def test_a_driver_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trossen_arm", None)
    (found,) = inspect(CONFIG)
    assert found.level is Level.FAIL
    assert "uv pip install -e '.[trossen]'" in found.text


def test_the_simulation_has_no_arms_to_look_at():
    assert factory.inspect(load(shipped("sim"))) == []
