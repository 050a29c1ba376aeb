"""import-lerobot reads what LeRobot's own configuration library writes, with LeRobot's own cameras in it."""

from dataclasses import dataclass, field

import draccus
import pytest
from lerobot.cameras.configs import CameraConfig, ColorMode, Cv2Rotation
from lerobot.cameras.opencv import OpenCVCameraConfig
from lerobot.cameras.realsense import RealSenseCameraConfig
from lerobot.robots import RobotConfig

from controller.config import load
from controller.import_lerobot import main


@RobotConfig.register_subclass("bi_widowxai_follower_robot")
@dataclass
class KitConfig(RobotConfig):
    """The fields of the vendor's plug-in, which is on no package index."""

    left_arm_ip_address: str
    right_arm_ip_address: str
    left_arm_max_relative_target: float | None = None
    right_arm_max_relative_target: float | None = None
    min_time_to_move_multiplier: float = 3.0
    loop_rate: int = 30
    cameras: dict[str, CameraConfig] = field(default_factory=dict)


@dataclass
class RecordConfig:
    """As much of a recording's configuration as matters."""

    robot: RobotConfig


def sized(cls, **settings):
    return cls(width=640, height=480, fps=30, **settings)


CAMERAS = {
    "cam_high": sized(RealSenseCameraConfig, serial_number_or_name="130322270184"),
    "cam_low": sized(OpenCVCameraConfig, index_or_path="/dev/v4l/by-id/low", color_mode=ColorMode.RGB),
    "cam_left_wrist": sized(OpenCVCameraConfig, index_or_path=2, rotation=Cv2Rotation.ROTATE_90),
}


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_lerobot_writes_is_read(form, tmp_path, capsys):
    kit = KitConfig(id="kit7", left_arm_ip_address="192.168.7.5", right_arm_ip_address="192.168.7.4", cameras=CAMERAS)
    with draccus.config_type(form):
        (tmp_path / "record").write_text(draccus.dump(RecordConfig(kit)))
    assert main([str(tmp_path / "record"), "-o", str(tmp_path / "kit.toml")]) == 0
    config = load(tmp_path / "kit.toml")
    assert (config.robot.left_ip, config.robot.right_ip) == ("192.168.7.5", "192.168.7.4")
    assert config.cameras["cam_high"].serial == "130322270184"
    assert config.cameras["cam_low"].device == "/dev/v4l/by-id/low"
    assert list(config.policy.cameras) == ["cam_high", "cam_low"]
    told = capsys.readouterr().err
    assert "robot.cameras.cam_left_wrist.rotation" in told
    assert "cam_low.rotation" not in told
