"""The wheel is complete, the lock files fit pyproject.toml, and no program loads what it does not need."""

import os
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from controller.config import load, parse, shipped

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("controller", "policy_server", "shm")
LOCKS = ("requirements.lock", "requirements-nodeps.lock", "requirements-lerobot.lock")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def locked(name: str = "requirements.lock") -> dict[str, str]:
    """Version by package name."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {pin.name: next(iter(pin.specifier)).version for pin in pins}


def test_the_wheel_holds_the_packages_and_their_configurations_and_nothing_else(wheel):
    on_disk = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == on_disk
    assert {"controller/configs/sim.toml", "controller/configs/trossen_stationary.toml"} <= packed


def test_every_command_of_the_wheel_leads_to_a_function(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    entry_points = ConfigParser()
    entry_points.read_string(wheel.read(name).decode())
    commands = dict(entry_points["console_scripts"])
    assert set(commands) == {"pi0-controller", "pi0ctl", "pi0-policy-server"}
    for target in commands.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(
    "module",
    [
        *("controller.cli", "controller.supervisor", "controller.control", "controller.motor", "controller.camera"),
        *("controller.link", "controller.recorder", "policy_server.__main__"),
    ],
)
def test_a_program_starts_without_simulation_video_and_plots(module):
    heavy = ("mujoco", "OpenGL", "av", "matplotlib")
    loaded = f"import sys, {module}; print(*(set({heavy!r}) & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, check=True, capture_output=True, text=True)
    assert shown.stdout.split() == []


def test_the_lock_pins_every_dependency_within_its_bounds():
    extras = dict(PROJECT["optional-dependencies"])
    apart = extras.pop("lerobot")  # in an environment of its own
    for name, wanted in [(LOCKS[0], sum(extras.values(), PROJECT["dependencies"])), (LOCKS[2], apart)]:
        pins = locked(name)
        for requirement in map(Requirement, wanted):
            assert requirement.name in pins, f"{requirement.name} is not locked: run make lock"
            assert pins[requirement.name] in requirement.specifier, f"{requirement}: run make lock"


def test_the_gpu_machine_gets_the_versions_that_are_tested_here():
    gpu, here = locked("requirements-cuda.lock"), locked()
    assert {name: gpu[name] for name in gpu.keys() & here.keys()} == {n: here[n] for n in gpu.keys() & here.keys()}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_registry_and_no_path_of_a_machine(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
    for line in filter(None, lines):
        assert line == "-e ." or str(Requirement(line).specifier).startswith("=="), line
        assert "/" not in line, line


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        *(
            f"scripts/{name}"
            for name in ("check", "completions", "install", "setup", "setup-lerobot", "uninstall")
        ),
    ],
)
def test_a_script_can_be_run(name):
    assert os.access(ROOT / name, os.X_OK)


def test_the_configuration_that_is_installed_is_the_simulation_in_the_service_s_places():
    printed = subprocess.run([ROOT / "scripts" / "controller-toml"], check=True, capture_output=True, text=True).stdout
    installed, simulation = parse(printed, "installed").model_dump(), load(shipped("sim")).model_dump()
    assert installed["recorder"].pop("directory") == "/var/lib/pi0-controller/recordings"
    assert installed["policy"].pop("api_key_file") == "/etc/pi0-controller/policy.key"
    simulation["recorder"].pop("directory")
    simulation["policy"].pop("api_key_file")
    assert installed == simulation
