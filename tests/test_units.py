"""What the units say beside what the programs say: times that contain one another, devices that come later."""

import re
import subprocess
from pathlib import Path

import pytest
from synthetic import sim_config

from controller import api, processes, reload, supervisor

ROOT = Path(__file__).parent.parent
UNITS = sorted((ROOT / "systemd").glob("*.service"))

WITHOUT_NUMBER = {"media", "nvidia*"}
"""Devices whose number the kernel gives when their driver comes."""


def said(name, key):
    """Every value of a key of a unit."""
    text = (ROOT / "systemd" / f"{name}.service").read_text(encoding="utf-8")
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def longest_config():
    config = sim_config()
    return config.model_copy(update={"robot": config.robot.model_copy(update={"kind": "lerobot"})})


def test_a_start_and_a_reload_may_take_as_long_as_the_slowest_process():
    (bound_s,) = map(float, said("pi0-controller", "TimeoutStartSec"))
    slowest_s = max(row.start_s for row in processes.table(longest_config()))
    assert bound_s >= max(slowest_s, reload.UP_TIMEOUT_S) + 10.0


def test_a_stop_may_park_come_to_rest_and_end_every_process():
    (bound_s,) = map(float, said("pi0-controller", "TimeoutStopSec"))
    rest_s = supervisor.SETTLE_S + supervisor.PARK_TIMEOUT_S + supervisor.REST_TIMEOUT_S
    assert bound_s >= rest_s + supervisor.END_TIMEOUT_S + api.SHUTDOWN_TIMEOUT_S + 5.0


def test_a_device_whose_driver_comes_with_it_is_allowed_by_number():
    """A name is looked up once, when the service starts."""
    allowed = [value.split()[0] for value in said("pi0-controller", "DeviceAllow")]
    named = {value.removeprefix("char-") for value in allowed if value.startswith("char-")}
    assert {name for name in named if not name.isdigit()} <= WITHOUT_NUMBER
    assert {"81", "189", "166", "188"} <= named


def test_what_makes_devices_is_outside_of_the_unit_that_may_not():
    assert said("pi0-policy-server", "ExecStartPre") == []
    for key in ("After", "Wants"):
        assert "pi0-nvidia.service" in said("pi0-policy-server", key)[0].split()
    assert said("pi0-nvidia", "DeviceAllow") == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_every_unit_is_installed_and_explained(unit):
    assert re.search(rf"\b{unit.stem}\b", (ROOT / "scripts" / "install").read_text(encoding="utf-8"))
    assert f"`{unit.name}`" in (ROOT / "systemd" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["DESTDIR", "PREFIX", "prefix"])
def test_a_place_that_cannot_be_chosen_is_refused_and_not_ignored(name):
    script = f"{name}=/tmp/package; source scripts/service; must_be_possible"
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "cannot install elsewhere (DESTDIR, PREFIX, prefix)" in ended.stderr


def test_who_is_not_root_is_told_so():
    script = "id() { echo 1000; }; source scripts/service; must_be_possible"
    ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "bash: needs root: the same with sudo before make\n")
