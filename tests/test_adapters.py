"""What cannot be driven here is refused before anything starts."""

import pytest

from controller import adapters
from controller.__main__ import main
from controller.config import load, shipped
from controller.exits import DaemonExit


@pytest.fixture
def bare(monkeypatch):
    """A machine without any optional package."""
    monkeypatch.setattr(adapters, "find_spec", lambda _name: None)


def test_the_simulation_needs_no_driver(bare):
    assert "robot.kind" not in adapters.lacking(load(shipped("sim")))


def test_arms_without_their_driver_are_refused_with_the_extra_to_install(bare, capsys, tmp_path):
    assert main(["--config", "trossen_stationary", "--socket", str(tmp_path / "c.sock")]) == DaemonExit.CONFIG
    error = capsys.readouterr().err
    assert "trossen_stationary.toml: robot.kind = 'trossen' needs a driver that is not here" in error
    assert "uv pip install -e '.[trossen]'" in error
    assert list(tmp_path.iterdir()) == []


def test_with_the_driver_the_arms_are_no_reason_to_refuse():
    assert "robot.kind" not in adapters.lacking(load(shipped("trossen_stationary")))
