"""Who may import whom, what the pure modules may touch, and how long a module may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("controller", "policy_server", "shm")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

LONGEST = 400

PURE = (
    "answers",
    "bodies",
    "config_camera",
    "config_lerobot",
    "config_robot",
    "config_section",
    "contact",
    "delays",
    "device_clock",
    "easing",
    "extras",
    "fault_matrix",
    "faults",
    "findings",
    "follower",
    "guard_lag",
    "hermite",
    "inputs",
    "jog",
    "joint_watch",
    "layout",
    "lerobot_translation",
    "lookahead",
    "margins",
    "moves",
    "observation",
    "pacing",
    "picture_watch",
    "plan_record",
    "planner",
    "playback",
    "refused",
    "remainder",
    "robots.lerobot_joints",
    "robots.lerobot_types",
    "robots.trossen_checks",
    "robots.trossen_errors",
    "robots.trossen_stream",
    "run_options",
    "seam_statistics",
    "settings",
    "shaper",
    "states",
    "stuck",
    "timeline",
    "under_way",
)
IMPURE = {"os", "socket", "time", "multiprocessing", "threading", "asyncio", "subprocess", "select"}

DEVICES = {
    "mujoco": {"controller/robots/sim.py", "controller/cameras/sim.py", "controller/sim"},
    "trossen_arm": {"controller/robots/trossen_driver.py"},
    "pyrealsense2": {"controller/cameras/realsense.py"},
    "linuxpy": {"controller/cameras/v4l2.py"},
    "lerobot": {"controller/lerobot_library.py"},
    "draccus": {"controller/lerobot_library.py"},
    "av": {"controller/cameras/file.py", "controller/cameras/v4l2.py", "controller/video.py"},
    "cykooz_resizer": {"controller/cameras/letterbox.py"},
    "jax": {"policy_server"},
}
"""Where each may be imported: a file, or anywhere below a folder."""

WORKERS = {f"controller.{name}" for name in ("motor", "control", "link", "camera", "recorder", "guard")}


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(path):
    """Every module that a file imports, wherever in the file, with the names taken from it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path):
    return {module.split(".")[0] for module in imports(path)}


def belongs(path, places):
    name = name_of(path)
    return any(name == place or name.startswith(place + "/") for place in places)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_imports_only_what_its_package_may(path):
    package = path.relative_to(ROOT).parts[0]
    if package == "shm":
        assert tops(path) <= {"shm", "numpy"} | set(sys.stdlib_module_names)
    elif package == "policy_server":
        assert not tops(path) & {"controller", "shm"}
    else:
        server = {module for module in imports(path) if module.split(".")[0] == "policy_server"}
        protocol = "policy_server.protocol"
        assert {m for m in server if m not in ("policy_server", protocol) and not m.startswith(protocol + ".")} == set()
    assert not tops(path) & {"tests", "bench"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_devices_are_imported_only_by_their_adapters(path):
    for module, places in DEVICES.items():
        assert module not in tops(path) or belongs(path, places), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_touches_neither_clock_nor_system(name):
    path = ROOT / "controller" / f"{name.replace('.', '/')}.py"
    assert not tops(path) & IMPURE
    assert "Pure" in ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def closure(module, seen=None):
    """All modules of the controller that importing one brings along."""
    seen = set() if seen is None else seen
    path = ROOT / (module.replace(".", "/") + ".py")
    if module not in seen and path.exists():
        seen.add(module)
        for other in imports(path):
            closure(other, seen)
    return seen


def test_pure_modules_bring_nothing_impure_along_but_the_configuration():
    pure = {f"controller.{name}" for name in PURE} | {"controller.robots.base"}
    for name in PURE:
        assert closure(f"controller.{name}") - pure <= {"controller.config"}, name


def test_the_supervisor_imports_none_of_the_processes_that_it_starts():
    assert not closure("controller.supervisor") & WORKERS
    assert "controller.states" in closure("controller.supervisor")


@pytest.mark.parametrize("module", ["controller.control", "controller.motor"])
def test_a_real_time_process_imports_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(result.stdout.split())
    assert {"controller", "numpy", "ruckig"} <= loaded
    devices = {"mujoco", "trossen_arm", "pyrealsense2", "lerobot", "torch"}
    assert not loaded & (devices | {"websockets", "aiohttp", "jax", "av", "PIL"})


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_says_what_it_is_for_and_is_not_long(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert not text.strip() or ast.get_docstring(ast.parse(text))
