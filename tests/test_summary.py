"""A status in words: what is not known, not well or not usual is seen."""

from __future__ import annotations

import pytest
from fake_operations import full_status, nulled

from controller.summary import DRY_RUN, duration, joint_label, number, played, summary


@pytest.mark.parametrize("status", [{}, nulled(full_status()), dict.fromkeys(full_status())])
def test_status_of_which_nothing_is_known(status: dict[str, object]) -> None:
    text = summary(status)
    assert "pi0-controller -  pid -  up -  config -" in text
    assert "None" not in text
    assert "nan" not in text


def test_dead_and_slow_are_visible() -> None:
    status = full_status()
    status["processes"]["motor"]["alive"] = False
    status["cameras"]["cam_low"]["at_rate"] = False
    status["policy"] |= {"connected": False, "server": None, "error": "connection refused"}
    status["inputs"]["cam_high"] |= {"valid": False, "reason": "is dark: brightness 1.5 (bound 8)"}
    text = summary(status)
    assert "cam_high           yes      yes     NO      21    500  is dark: brightness 1.5 (bound 8)" in text
    assert "motor            4242   DEAD" in text
    assert "cam_low          slow" in text
    assert "NOT CONNECTED  ws://127.0.0.1:8000  (connection refused)" in text


def test_a_dry_run_is_said_before_anything_else() -> None:
    assert f"state     RUNNING  {DRY_RUN}  homed" in summary(full_status() | {"dry": True})


def test_a_speed_on_its_way_is_told() -> None:
    status = full_status()
    status["control"]["speed"] = 0.42
    assert played(status) == "blend  speed 0.50 (now 0.42)"
    assert played(status | {"run": None}) == "blend"


def test_a_guard_that_is_off_is_visible() -> None:
    on, off = full_status(), full_status()
    off["guard"] = {"enabled": False}
    assert "OFF" not in summary(on)
    assert "nearest left finger and right finger 23 mm in 0.31 s" in summary(on)
    state = next(line for line in summary(off).splitlines() if line.startswith("state"))
    assert "guard OFF" in state
    assert "guard     OFF: nobody looks ahead for collisions" in summary(off)


def test_words() -> None:
    assert number(float("nan"), 1, "ms") == "nan ms"
    assert number(True) == number("3") == number(None) == "-"
    assert duration(86_461.9) == "24:01:01"
    assert joint_label("right_left_carriage_joint") == "right grip"
