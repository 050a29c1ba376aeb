"""Which adapter a camera of the configuration gets, and what is said where its SDK is missing."""

import builtins

import pytest

from controller import adapters
from controller.cameras.base import CameraError
from controller.cameras.factory import make
from controller.config import load, shipped
from controller.config_camera import Camera

KINDS = {
    "realsense": ("RealsenseCamera", {"serial": "1"}, "pyrealsense2"),
    "v4l2": ("V4l2Camera", {"device": "/dev/video0"}, "linuxpy"),
    "file": ("FileCamera", {"path": "x.mp4"}, "av"),
}


def with_camera(kind, keys):
    config = load(shipped("sim"))
    return config.model_copy(update={"cameras": config.cameras | {"cam_low": Camera(kind=kind, **keys)}})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gets_its_adapter(kind):
    name, keys, _ = KINDS[kind]
    assert type(make("cam_low", Camera(kind=kind, **keys), None)).__name__ == name
    assert adapters.lacking(with_camera(kind, keys)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_sdk_that_is_not_installed_is_named_before_anything_starts(kind, monkeypatch):
    _, keys, module = KINDS[kind]
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == module else object())
    said = adapters.lacking(with_camera(kind, keys))
    assert f"cameras.cam_low.kind = '{kind}' needs {module}, which is not installed: uv pip install -e" in said


def test_an_sdk_that_cannot_be_loaded_is_the_cameras_fault(monkeypatch):
    really = builtins.__import__

    def without_libusb(name, *rest):
        if name.endswith("cameras.realsense"):
            raise ImportError("libusb-1.0.so.0: cannot open shared object file")
        return really(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_libusb)
    with pytest.raises(CameraError, match=r"cam_high: what kind = 'realsense' needs cannot be loaded: libusb-1\.0"):
        make("cam_high", Camera(kind="realsense", serial="1"), None)
