"""pi0-controller import-lerobot: a LeRobot file becomes a configuration that loads, and nothing is lost in silence."""

import json

import pytest
import yaml

from controller.__main__ import main
from controller.config import load, parse, shipped
from controller.lerobot_translation import CAMERA_PLAIN, KIT_TYPES, PLAIN, Untranslatable, translate

SHIPPED = shipped("trossen_stationary").read_text(encoding="utf-8")

ROBOT = {
    "type": "bi_widowxai_follower_robot",
    "id": "kit7",
    "calibration_dir": None,
    "left_arm_ip_address": "192.168.7.5",
    "right_arm_ip_address": "192.168.7.4",
    "left_arm_max_relative_target": None,
    "right_arm_max_relative_target": 0.2,
    "min_time_to_move_multiplier": 4.0,
    "loop_rate": 30,
    "include_velocity": False,
    "cameras": {
        "cam_high": {
            "type": "intelrealsense",
            "serial_number_or_name": "130322270184",
            "fps": 15,
            "width": 848,
            "height": 480,
            "color_mode": "rgb",
            "use_depth": False,
            "rotation": "NO_ROTATION",
            "warmup_s": 1,
        },
        "cam_low": {
            "type": "opencv",
            "index_or_path": "/dev/v4l/by-id/low",
            "fps": 30,
            "width": 1280,
            "height": 720,
            "fourcc": "YUYV",
            "rotation": 0,
        },
    },
}


def changed(**keys):
    return {key: value for key, value in (ROBOT | keys).items() if value is not ...}


def camera(**keys):
    return changed(cameras={"cam_low": ROBOT["cameras"]["cam_low"] | keys})


def made(document):
    translation = translate(document, "kit.yaml", SHIPPED)
    return translation, parse(translation.toml, "made")


def test_addresses_and_cameras_are_carried_over_and_the_rest_is_as_shipped():
    _, config = made(ROBOT)
    example = load(shipped("trossen_stationary"))
    assert (config.robot.left_ip, config.robot.right_ip) == ("192.168.7.5", "192.168.7.4")
    high, low = config.cameras["cam_high"], config.cameras["cam_low"]
    assert (high.kind, high.serial, high.width, high.height, high.rate_hz) == (
        *("realsense", "130322270184"),
        *(848, 480, 15.0),
    )
    assert (low.kind, low.device, low.pixel_format) == ("v4l2", "/dev/v4l/by-id/low", "yuyv")
    assert list(config.cameras) == list(config.policy.cameras) == ["cam_high", "cam_low"]
    same = {"left_ip": example.robot.left_ip, "right_ip": example.robot.right_ip}
    assert config.robot.model_copy(update=same) == example.robot
    assert config.control == example.control
    assert config.recorder == example.recorder


def test_each_value_names_the_key_that_it_is_from():
    text = made({"robot": ROBOT})[0].toml
    assert 'left_ip = "192.168.7.5"  # robot.left_arm_ip_address\n' in text
    assert 'serial = "130322270184"  # robot.cameras.cam_high.serial_number_or_name\n' in text
    assert "rate_hz = 15  # robot.cameras.cam_high.fps\n" in text
    assert text.startswith("# Made by `pi0-controller import-lerobot` from kit.yaml, a robot of type bi_widowxai")


def test_every_other_key_is_told_with_the_reason_in_the_file_too():
    translation, _ = made(changed(shoe_size=44))
    carried = {"type", "cameras", "left_arm_ip_address", "right_arm_ip_address"}
    said = {key for key, value in ROBOT.items() if value is not None} | {"shoe_size"}
    for key in said - carried:
        (line,) = [line for line in translation.remarks if line.startswith(f"{key} = ")]
        assert PLAIN.get(key, "not known to the controller") in line
        assert f"#   {line}\n" in translation.toml
    told = [line for line in translation.remarks if line.startswith("cameras.cam_high.")]
    assert {line.split(".")[2].split(" ")[0] for line in told} == {"color_mode", "use_depth", "warmup_s"}
    assert all(CAMERA_PLAIN[key] in "".join(told) for key in ("color_mode", "use_depth", "warmup_s"))
    assert "right_arm_max_relative_target = 0.2 is not carried over: robot.limits" in "\n".join(translation.remarks)


@pytest.mark.parametrize("kind", KIT_TYPES)
def test_both_names_of_the_kit_are_known(kind):
    assert made(changed(type=kind))[1].robot.kind == "trossen"


def test_the_rate_of_a_recording_is_that_of_the_policy():
    assert made({"robot": ROBOT, "dataset": {"fps": 30}})[1].policy.action_rate_hz == 30.0
    assert made({"robot": ROBOT, "dataset": {}})[1].policy.action_rate_hz == 50.0


def test_a_file_with_all_four_cameras_needs_no_list_of_them():
    four = dict.fromkeys(("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist"), ROBOT["cameras"]["cam_low"])
    translation, config = made(changed(cameras=four))
    assert set(config.policy.cameras) == set(four)
    assert "cameras = [" not in translation.toml


@pytest.mark.parametrize("cameras", [{}, None, ...])
def test_a_file_without_cameras_keeps_the_examples_and_says_so(cameras):
    translation, config = made(changed(cameras=cameras))
    assert config.cameras == load(shipped("trossen_stationary")).cameras
    assert "cameras has none that fits: the four below are the shipped example's" in translation.remarks


@pytest.mark.parametrize("index", [4, "4"])
def test_the_index_of_a_camera_becomes_a_path_that_a_person_should_look_at(index):
    translation, config = made(camera(index_or_path=index))
    assert config.cameras["cam_low"].device == "/dev/video4"
    assert any("index_or_path = 4 is /dev/video4, which may be another" in line for line in translation.remarks)


LEFT_OUT = {
    "by name": ({"type": "intelrealsense", "serial_number_or_name": "D405"}, "rs-enumerate-devices -s prints it"),
    "turned": ({"rotation": 90}, "cam_low.rotation = 90 is not carried over: pictures are not turned here"),
    "turned by its name": ({"rotation": "ROTATE_180"}, "pictures are not turned here"),
    "elsewhere": ({"type": "zmq"}, 'cam_low.type = "zmq" is not carried over: use kind = \'lerobot\''),
    "a video": ({"index_or_path": "film.mp4"}, "neither a number nor a path of /dev"),
    "yes is no number": ({"index_or_path": True}, "neither a number nor a path of /dev"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_camera_that_would_not_show_the_same_is_left_out(name):
    keys, why = LEFT_OUT[name]
    cameras = {"cam_high": ROBOT["cameras"]["cam_high"], "cam_low": ROBOT["cameras"]["cam_low"] | keys}
    translation, config = made(changed(cameras=cameras))
    assert list(config.cameras) == ["cam_high"]
    assert any(why in line for line in translation.remarks), translation.remarks


def test_a_camera_by_another_name_and_an_unknown_format_are_told():
    translation, config = made(changed(cameras={"top": {"type": "opencv"}, **camera(fourcc="H264")["cameras"]}))
    assert list(config.cameras) == ["cam_low"]
    assert any("cameras.top" in line and "cameras here are called cam_high" in line for line in translation.remarks)
    assert any('fourcc = "H264" is not carried over: formats here are MJPG, YUYV' in x for x in translation.remarks)


def test_a_camera_that_does_not_say_what_it_is_is_told_too():
    cameras = {"top": {"width": 640}, "cam_high": {"width": 640}, "cam_low": {"type": "opencv"}}
    remarks = made(changed(cameras=cameras))[0].remarks
    for key in ("cameras.top", "cameras.cam_high.type", "cameras.cam_low.index_or_path"):
        assert any(line.startswith(f"{key} = null is not carried over: ") for line in remarks), key


def test_a_key_of_several_lines_stays_in_its_comment():
    translation, config = made(changed(**{"a\n[b]\nc": 1}))
    assert "a [b] c = 1 is not carried over: not known to the controller" in translation.remarks
    assert config.robot.kind == "trossen"


REFUSED = {
    "another robot": (changed(type="so101_follower"), "type is 'so101_follower', not bi_widowxai_follower or"),
    "no address": (changed(left_arm_ip_address=...), "left_arm_ip_address is None; it must be the arm's address"),
    "no robot": ({"policy": {}}, "neither a robot's type nor a table `robot`; its keys are policy"),
    "no table": (["a"], r'the file is \["a"\], no table of settings'),
    "nothing": (None, "the file is null, no table of settings"),
    "numbered": ({3: 4}, "the file has a key that is no word: 3"),
    "cameras of a command line": (changed(cameras="{cam_low: {}}"), r'cameras is "{cam_low: {}}", no table'),
    "an empty camera": (changed(cameras={"cam_low": None}), "cameras.cam_low is null, no table of settings"),
    "a camera with a number": (changed(cameras={5: {}}), "cameras has a key that is no word: 5"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_this_kit_is_refused(name):
    document, message = REFUSED[name]
    with pytest.raises(Untranslatable, match=message):
        translate(document, "kit.yaml", SHIPPED)


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_the_command_reads_yaml_and_json_and_writes_what_loads(write, tmp_path, capsys):
    (tmp_path / "kit").write_text(write({"robot": ROBOT}))
    out = tmp_path / "kit.toml"
    assert main(["import-lerobot", str(tmp_path / "kit"), "-o", str(out)]) == 0
    assert load(out).robot.left_ip == "192.168.7.5"
    told = capsys.readouterr()
    assert told.out == ""
    assert 'robot.id = "kit7" is not carried over' in told.err
    assert main(["import-lerobot", str(tmp_path / "kit")]) == 0
    assert capsys.readouterr().out == out.read_text()


def test_words_that_lerobot_writes_as_objects_are_read_as_words(tmp_path, capsys):
    text = yaml.safe_dump(ROBOT).replace(
        "color_mode: rgb", "color_mode: !!python/object/apply:lerobot.cameras.configs.ColorMode\n    - rgb"
    )
    assert "!!python" in text
    (tmp_path / "kit").write_text(text)
    assert main(["import-lerobot", str(tmp_path / "kit")]) == 0
    assert 'cameras.cam_high.color_mode = "rgb" is not carried over' in capsys.readouterr().err


def test_the_command_overwrites_nothing(tmp_path, capsys):
    (tmp_path / "kit").write_text(yaml.safe_dump(ROBOT))
    (tmp_path / "mine.toml").write_text("precious")
    assert main(["import-lerobot", str(tmp_path / "kit"), "-o", str(tmp_path / "mine.toml")]) == 1
    assert "mine.toml exists, and somebody may have worked on it: give another -o" in capsys.readouterr().err
    assert (tmp_path / "mine.toml").read_text() == "precious"


BROKEN = {
    "neither": (b"\xff\xfe", "neither YAML nor JSON"),
    "half": (b"robot: {type: [", "neither YAML nor JSON"),
    "a call": (b"robot: !!python/object/apply:os.getcwd []", "neither a robot's type nor a table `robot`"),
    "a call by name": (b"robot: !!python/object/apply:os.getcwd {}", "cannot be read: tag:yaml.org,2002:python/object"),
    "an object": (b"robot: !!python/object:os.getcwd {}", "neither YAML nor JSON"),
    "beyond a bound": (yaml.safe_dump(camera(fps=500)).encode(), "cameras.cam_low.rate_hz = 500: "),
    "no address": (yaml.safe_dump(changed(left_arm_ip_address="left.lab")).encode(), "left_ip = 'left.lab' is no IPv4"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_command_writes_nothing_that_does_not_load(name, tmp_path, capsys):
    content, message = BROKEN[name]
    (tmp_path / "kit").write_bytes(content)
    assert main(["import-lerobot", str(tmp_path / "kit"), "-o", str(tmp_path / "out.toml")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.toml").exists()
