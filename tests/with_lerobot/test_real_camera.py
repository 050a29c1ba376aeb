"""The lerobot camera adapter on LeRobot's own cameras, as far as they go without a device, and on a plug-in's."""

import importlib
import inspect

import numpy as np
import pytest

from controller.cameras.base import CameraError
from controller.cameras.lerobot import LerobotCamera
from controller.config_camera import Camera

WIDTH, HEIGHT = 64, 48
BLANK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def camera(kind, **config):
    settings = Camera(kind="lerobot", width=WIDTH, height=HEIGHT, lerobot={"type": kind, "config": config})
    return LerobotCamera("cam_low", settings)


def test_a_plug_ins_picture_arrives_in_its_colours_and_stays_what_it_was():
    from lerobot_camera_pi0pattern import BLUE, RED

    seen = camera("pi0pattern")
    seen.open()
    out = BLANK.copy()
    info = seen.read(out, 0.1)
    assert tuple(out[10, 5]) == RED
    assert tuple(out[10, WIDTH - 5]) == BLUE
    assert (info.number, info.exposure_known) == (1, False)
    assert seen.read(BLANK.copy(), 0.1).number == 2
    first = out[0, 0].copy()
    seen.close()
    assert (out[0, 0] == first).all(), "a frame that was handed over is ours"


def test_a_late_frame_is_waited_for_and_a_dead_camera_is_lost():
    late = camera("pi0pattern", late_after=0)
    late.open()
    assert late.read(BLANK.copy(), 0.01) is None
    dead = camera("pi0pattern", frames=0)
    dead.open()
    with pytest.raises(CameraError, match="LeRobot camera 'pi0pattern': RuntimeError: the read thread has died"):
        dead.read(BLANK.copy(), 0.01)


def test_a_camera_in_bgr_is_refused():
    for kind, where in (("pi0pattern", {}), ("opencv", {"index_or_path": 99})):
        with pytest.raises(CameraError, match="colours come as 'bgr'; take color_mode out"):
            camera(kind, color_mode="bgr", **where)


def test_a_device_that_is_not_there_is_told_by_name():
    absent = camera("opencv", index_or_path="/dev/video99")
    with pytest.raises(CameraError, match="cam_low: LeRobot camera 'opencv': connect: ConnectionError: Failed to open"):
        absent.open()
    absent.close()


def test_a_realsense_is_made_from_its_serial_number():
    camera("intelrealsense", serial_number_or_name="130322270184").close()  # its SDK looks for a device for 15 s


def test_what_is_wrong_in_the_table_is_told():
    with pytest.raises(CameraError, match="The fields `colour` are not valid for OpenCVCameraConfig"):
        camera("opencv", index_or_path=0, colour="red")
    with pytest.raises(CameraError, match="type 'webcam' is not known to LeRobot here; known: intelrealsense, opencv"):
        camera("webcam")


@pytest.mark.parametrize(
    "name", ["opencv.camera_opencv.OpenCVCamera", "realsense.camera_realsense.RealSenseCamera", "camera.Camera"]
)
def test_the_interface_is_the_one_that_the_adapter_calls(name):
    module, _, cls = name.rpartition(".")
    found = getattr(importlib.import_module(f"lerobot.cameras.{module}"), cls)
    assert list(inspect.signature(found.async_read).parameters) == ["self", "timeout_ms"]
    assert list(inspect.signature(found.connect).parameters) == ["self", "warmup"]
