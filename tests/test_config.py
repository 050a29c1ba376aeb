"""The configuration: what ships loads, and every kind of mistake is one clear line."""

import re
from pathlib import Path

import pytest

from controller.config import ConfigError, fingerprint, load, parse, shipped
from controller.config_robot import both_arms
from controller.config_use import path_of

TEXT = shipped("sim").read_text(encoding="utf-8")
PATH = "lab.toml"


@pytest.mark.parametrize("name", ["sim", "trossen_stationary"])
def test_what_ships_loads(name):
    config = load(shipped(name))
    assert name.startswith(config.robot.kind)
    assert list(config.cameras) == ["cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"]
    assert len(both_arms(config.robot.limits.lower)) == 14


def test_both_files_move_alike_but_for_what_the_real_arms_enforce():
    sim, real = load(shipped("sim")), load(shipped("trossen_stationary"))
    ranges = ("lower", "upper", "contact")
    assert sim.robot.limits.model_dump(exclude=set(ranges)) == real.robot.limits.model_dump(exclude=set(ranges))
    assert (both_arms(sim.robot.limits.lower) <= both_arms(real.robot.limits.lower)).all()
    assert (both_arms(sim.robot.limits.upper) >= both_arms(real.robot.limits.upper)).all()
    assert sim.robot.homing.pose[:6] == real.robot.homing.pose[:6]
    assert sim.robot.homing.model_dump(exclude={"pose"}) == real.robot.homing.model_dump(exclude={"pose"})
    assert sim.control == real.control
    assert sim.guard == real.guard


def changed(old, new, count=1):
    text, n = re.subn(old, new, TEXT, count=count, flags=re.MULTILINE)
    assert n == count
    return text


MISTAKES = {
    "malformed": (changed(r"^\[robot\]", "[robot"), "lab.toml: not valid TOML: "),
    "twice": (changed(r"^seed = 0", "seed = 0\nseed = 1"), "lab.toml: not valid TOML: Cannot overwrite a value"),
    "unknown section": ("speed = 1\n" + TEXT, "lab.toml: speed: unknown key"),
    "unknown key": (changed(r"^blend_s", "blend_sec"), "lab.toml: control.blend_sec: unknown key"),
    "unknown key deep": (
        changed(r"^tracking ", "trackign "),
        "lab.toml: robot.limits.trackign: unknown key",
    ),
    "unknown key of a camera": (
        changed(r'^(\[cameras.cam_high\]\nkind = "sim")', r"\1\nfps = 30"),
        "lab.toml: cameras.cam_high.fps: unknown key",
    ),
    "camera without its serial number": (
        changed(r'^(\[cameras.cam_high\]\nkind = )"sim"', r'\1"realsense"'),
        "lab.toml: cameras.cam_high: kind = 'realsense' needs serial: the camera's serial number",
    ),
    "key of another kind of camera": (
        changed(r'^(\[cameras.cam_high\]\nkind = "sim")', r'\1\nexposure_us = 5000'),
        "lab.toml: cameras.cam_high: exposure_us is a matter of kind = 'realsense' or 'v4l2', not of 'sim'",
    ),
    "gain of an automatic exposure": (
        changed(r'^(\[cameras.cam_high\]\nkind = )"sim"', r'\1"v4l2"\ndevice = "/dev/video0"\ngain = 3'),
        "lab.toml: cameras.cam_high: gain = 3 needs exposure_us",
    ),
    "missing": (changed(r"^tolerance .*$", ""), "lab.toml: robot.homing.tolerance: missing"),
    "reversed": (
        changed(r"^lower  .*$", "lower = [3.06, 0.001, 0.001, -1.5, -1.5, -3.1, 0.0]"),
        "lab.toml: robot.limits: limits of joint_0 are reversed: lower 3.06 >= upper 3.0533",
    ),
    "firmware position": (
        changed(r"^upper  .*$", "upper = [3.0533, 3.1406, 2.3552, 1.5698, 1.5698, 3.1406, 0.05]"),
        "lab.toml: robot.limits: upper of left_carriage_joint = 0.05 lies outside 0.0000..0.0440",
    ),
    "firmware velocity": (
        changed(r"^velocity     = \[3.0,", "velocity = [7.0,"),
        "lab.toml: robot.limits: velocity of joint_0 = 7.0 lies outside 0.0000..6.2832",
    ),
    "pose": (
        changed(r"^pose .*$", "pose = [0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.0435]"),
        "lab.toml: robot: homing.pose of left_carriage_joint = 0.0435 lies outside 0.0000..0.0430",
    ),
    "homing too fast": (
        changed(r"^velocity     = \[0.8,", "velocity = [3.2,"),
        "lab.toml: robot: homing.velocity of joint_0 = 3.2 lies outside 0.0000..3.0000",
    ),
    "ramp too hard": (
        changed(r"^acceleration = \[4.0,", "acceleration = [16.0,"),
        "lab.toml: control.ramp.acceleration of joint_0 = 16.0 lies outside 0.0000..10.0000",
    ),
    "brakes weaker than motion": (
        changed(r"^acceleration = \[25.0,", "acceleration = [0.5,"),
        "lab.toml: robot.limits: brake.acceleration of joint_0 = 0.5 lies outside 15.0000..inf",
    ),
    "no time to brake": (
        changed(r"^horizon_s = 0.5", "horizon_s = 0.4"),
        "lab.toml: guard.horizon_s = 0.4 leaves 0.10 s after lag_s = 0.3, and a stop from top speed takes 0.14 s",
    ),
    "camera name": (
        changed(r"^\[cameras.cam_high\]", "[cameras.cam_top]"),
        "lab.toml: cameras: camera 'cam_top' is none of cam_high, cam_low, cam_left_wrist, cam_right_wrist",
    ),
    "camera of the policy": (
        changed(r'^\[cameras.cam_low\]\nkind = "sim"', ""),
        "lab.toml: policy.cameras names 'cam_low' (all four where it is not set), configured are cam_high, "
        "cam_left_wrist, cam_right_wrist: add [cameras.cam_low], or set policy.cameras to those",
    ),
    "nan": (
        changed(r"^velocity     = \[3.0,", "velocity = [nan,"),
        "lab.toml: robot.limits.velocity[0] = nan: ",
    ),
    "infinite": (changed(r"^blend_s = 0.1", "blend_s = inf"), "lab.toml: control.blend_s = inf: "),
    "not a number": (changed(r"^blend_s = 0.1", 'blend_s = "0.1"'), "lab.toml: control.blend_s = '0.1': "),
    "not a number in a vector": (
        changed(r"^tracking     = \[0.4", 'tracking = ["0.4"'),
        "lab.toml: robot.limits.tracking[0] = '0.4': ",
    ),
    "true is no number": (changed(r"^blend_s = 0.1", "blend_s = true"), "lab.toml: control.blend_s = True: "),
    "negative": (
        changed(r"^tracking     = \[0.4", "tracking = [-0.4"),
        "lab.toml: robot.limits.tracking[0] = -0.4: Input should be greater than 0",
    ),
    "too short": (
        changed(r"^lower  .*$", "lower = [0.0, 1.0]"),
        "lab.toml: robot.limits.lower: has 2 values, must have 7: joint_0..joint_5, gripper",
    ),
    "too long": (changed(r"^(lower  .*)\]$", r"\1, 0.0]"), "lab.toml: robot.limits.lower: has 8 values, must have 7"),
    "out of range": (
        changed(r"^rate_hz = 50", "rate_hz = 5000"),
        "lab.toml: control.rate_hz = 5000: Input should be less than or equal to 500",
    ),
    "robot slower than control": (
        changed(r"^rate_hz = 200", "rate_hz = 60").replace("rate_hz = 50", "rate_hz = 100"),
        "lab.toml: robot.rate_hz = 60.0 is below control.rate_hz = 100.0",
    ),
    "unknown kind": (changed(r'^kind = "sim"', 'kind = "ur5"'), "lab.toml: robot.kind = 'ur5': "),
    "no address": (
        changed(r'^kind = "sim"', 'kind = "trossen"'),
        "lab.toml: robot: kind = 'trossen' needs left_ip and right_ip",
    ),
    "workspace reversed": (
        changed(r"^workspace_lower = .*$", "workspace_lower = [-0.4, 0.9, 0.0]"),
        "lab.toml: guard: workspace is reversed: y from 0.9 to 0.8",
    ),
    "workspace in a plane": (
        changed(r"^workspace_lower = .*$", "workspace_lower = [-0.4, -0.8]"),
        "lab.toml: guard.workspace_lower: has 2 values, must have 3: x, y, z",
    ),
    "clearance that nobody measures": (
        changed(r"^arm_clearance_m = 0.015", "arm_clearance_m = 0.2"),
        "lab.toml: guard.arm_clearance_m = 0.2: Input should be less than or equal to 0.09",
    ),
    "guard slower than it looks": (
        changed(r"^horizon_s = 0.5", "horizon_s = 0.3"),
        "lab.toml: guard: lag_s = 0.3 must be below horizon_s = 0.3",
    ),
    "url": (
        changed(r'"ws://127', '"http://127'),
        "lab.toml: policy.url = 'http://127.0.0.1:8000': must start with ws:// or wss://",
    ),
    "url without a host": (
        changed(r"^url = .*$", 'url = "ws://:8000"'),
        "lab.toml: policy.url = 'ws://:8000': must be like ws://HOST:PORT",
    ),
    "url whose host is no name": (
        changed(r"^url = .*$", 'url = "ws://a..b:8000"'),
        "lab.toml: policy.url = 'ws://a..b:8000': must be like ws://HOST:PORT, with a port of 1 to 65535: ",
    ),
    "port out of range": (
        changed(r"^url = .*$", 'url = "ws://gpu:99999"'),
        "lab.toml: policy.url = 'ws://gpu:99999': must be like ws://HOST:PORT, with a port of 1 to 65535: Port out of",
    ),
    "port 0": (changed(r"^url = .*$", 'url = "ws://gpu:0"'), "lab.toml: policy.url = 'ws://gpu:0': must be like"),
    "port that is no number": (
        changed(r"^url = .*$", 'url = "ws://gpu:80x0"'),
        "lab.toml: policy.url = 'ws://gpu:80x0': must be like ws://HOST:PORT",
    ),
    "blank in the url": (
        changed(r"^url = .*$", 'url = "ws://gpu:8000 "'),
        "lab.toml: policy.url = 'ws://gpu:8000 ': must be like ws://HOST:PORT",
    ),
    "image encoding": (
        changed(r'^image_encoding = "raw"', 'image_encoding = "png"'),
        "lab.toml: policy.image_encoding = 'png': Input should be 'raw' or 'jpeg'",
    ),
    "jpeg quality": (
        changed(r'^image_encoding = "raw"', "jpeg_quality = 40"),
        "lab.toml: policy.jpeg_quality = 40: Input should be greater than or equal to 50",
    ),
    "section that is a value": (
        changed(r"^\[recorder\]\n.*$", "").replace("[robot]", "recorder = 3\n[robot]", 1),
        "lab.toml: recorder = 3: must be a table",
    ),
    "no robot": ("", "lab.toml: robot: missing"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_file_key_value_and_bound(name):
    text, start = MISTAKES[name]
    with pytest.raises(ConfigError) as error:
        parse(text, PATH)
    lines = str(error.value).splitlines()
    if name not in ("unknown key", "unknown key deep", "no robot"):  # one mistake that leaves a key missing, too
        assert len(lines) == 1, lines
    assert [line for line in lines if line.startswith(start)], lines
    assert all(len(line) < 200 for line in lines)
    assert "pydantic" not in str(error.value)


def test_several_mistakes_are_all_told():
    text = changed(r"^blend_s = 0.1", "blend_s = 2.0").replace("seed = 0", "seed = -1")
    with pytest.raises(ConfigError) as error:
        parse(text, PATH)
    assert [line.split(" = ")[0] for line in str(error.value).splitlines()] == [
        "lab.toml: robot.seed",
        "lab.toml: control.blend_s",
    ]


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read: .*No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"cannot be read: .*Is a directory"):
        load(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot be read: .*utf-8"):
        load(tmp_path / "bytes.toml")


def test_a_configuration_cannot_be_changed():
    config = load(shipped("sim"))
    with pytest.raises(ValueError, match="frozen"):
        config.control.blend_s = 1.0


def test_the_fingerprint_is_of_what_moves_the_arms():
    config = load(shipped("sim"))
    assert fingerprint(load(shipped("sim"))) == fingerprint(config), "wherever it lies"
    assert fingerprint(parse(changed(r"^seed = 0", "seed = 1"), PATH)) != fingerprint(config)
    quiet = config.daemon.model_copy(update={"log_level": "error"})
    assert fingerprint(config.model_copy(update={"daemon": quiet})) == fingerprint(config)


def test_a_name_is_a_file_or_what_comes_with_the_package(tmp_path):
    assert path_of("sim") == shipped("sim")
    assert path_of("no/such.toml") == Path("no/such.toml")
    (tmp_path / "mine").touch()
    assert path_of(str(tmp_path / "mine")) == tmp_path / "mine"
    with pytest.raises(ConfigError, match="nothere: neither a file nor one of sim, trossen_stationary"):
        path_of("nothere")
