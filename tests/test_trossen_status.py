"""How warm the joints are, from the motor process's record to the operator's line."""

import numpy as np
import pytest
from supervisor_rig import Rig

from controller.summary import robot_line


@pytest.fixture
def rig():
    made = Rig()
    yield made
    made.close()


def shown(rig, celsius, ticks=1):
    rig.status["motor"]["temperature"], rig.status["motor"]["ticks"] = celsius, ticks
    rig.look()
    return rig.supervisor.status()["robot"]["temperature"]


def test_the_hottest_joint_is_named_with_its_bound(rig):
    celsius = np.full(14, 30.0)
    celsius[9] = 64.9
    temperature = shown(rig, celsius)
    assert temperature["celsius"][8:10] == [30.0, 64.9]
    assert (temperature["hottest"], temperature["hottest_celsius"]) == ("right_joint_2", 64.9)
    assert (temperature["bound_celsius"], temperature["warm"]) == (65.0, False)
    assert "right 2 65 °C  contact" in robot_line(rig.supervisor.status())


def test_a_warm_joint_is_said_in_capitals(rig):
    celsius = np.full(14, np.nan)
    celsius[0] = 65.0
    assert shown(rig, celsius)["celsius"][1] is None
    assert "left 0 65 °C  WARM" in robot_line(rig.supervisor.status())


@pytest.mark.parametrize("ticks", [0, 5])
def test_of_a_robot_that_does_not_say_nothing_is_shown(rig, ticks):
    assert shown(rig, np.nan if ticks else 0.0, ticks) is None
    assert "°C" not in robot_line(rig.supervisor.status())
