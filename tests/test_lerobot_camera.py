"""The lerobot camera adapter on a camera that a test plays: RGB of the right size, copied at once, host times only."""

from types import SimpleNamespace

import numpy as np
import pytest

from controller import lerobot_library
from controller.cameras import factory
from controller.cameras.base import CameraError
from controller.cameras.lerobot import LerobotCamera
from controller.config_camera import Camera


class Played:
    """Each `async_read` gives the next of `frames`, or raises it."""

    def __init__(self, frames=(), color_mode=None):
        self.frames, self.color_mode = list(frames), color_mode
        self.called, self.timeout_ms = [], None
        self.fails = None

    def connect(self):
        self.called.append("connect")
        if self.fails:
            raise self.fails

    def async_read(self, timeout_ms):
        self.timeout_ms = timeout_ms
        frame = self.frames.pop(0)
        if isinstance(frame, Exception):
            raise frame
        return frame

    def disconnect(self):
        raise ConnectionError("was never connected")


CONFIG = Camera(kind="lerobot", width=32, height=16, lerobot={"type": "opencv", "config": {"index_or_path": 2}})
PICTURE = np.full((16, 32, 3), (200, 10, 20), np.uint8)


def opened(monkeypatch, device, config=CONFIG):
    made = []
    monkeypatch.setattr(lerobot_library, "make_camera", lambda kind, table: made.append((kind, table)) or device)
    camera = factory.make("cam_low", config, None)
    assert isinstance(camera, LerobotCamera)
    camera.open()
    return camera, made


def test_a_frame_is_copied_stamped_on_arrival_and_counted(monkeypatch):
    buffer = PICTURE.copy()
    camera, made = opened(monkeypatch, device := Played([buffer, buffer]))
    assert made == [("opencv", {"index_or_path": 2, "width": 32, "height": 16, "fps": 30})]
    out = np.zeros_like(PICTURE)
    first = camera.read(out, 0.1)
    buffer[:] = 0  # the SDK reuses it
    assert (out == PICTURE).all()
    assert device.timeout_ms == pytest.approx(100.0)
    assert first.t_exposure_ns == first.t_arrival_ns > 0
    assert not first.exposure_known
    assert camera.read(out, 0.1).number == first.number + 1
    assert camera.rate_hz == 30.0
    camera.close()  # must not raise


def test_no_frame_in_time_is_no_error(monkeypatch):
    camera, _ = opened(monkeypatch, Played([TimeoutError("200 ms")]))
    assert camera.read(np.zeros_like(PICTURE), 0.1) is None


def test_a_camera_that_stays_silent_is_lost_so_that_it_is_opened_anew(monkeypatch):
    t_ns, silence = [10**9], TimeoutError("100 ms")
    monkeypatch.setattr(lerobot_library, "make_camera", lambda *_: Played([silence, PICTURE, silence, silence]))
    camera = LerobotCamera("cam_low", CONFIG, clock=lambda: t_ns[0])
    camera.open()
    out = np.zeros_like(PICTURE)
    t_ns[0] += 4 * 10**9
    assert camera.read(out, 0.1) is None
    assert camera.read(out, 0.1) is not None
    t_ns[0] += 4 * 10**9
    assert camera.read(out, 0.1) is None, "of a frame that came, the silence begins anew"
    t_ns[0] += 10**9
    with pytest.raises(CameraError, match=r"cam_low: LeRobot camera 'opencv': sent no frame for 5\.0 s"):
        camera.read(out, 0.1)


WRONG = {
    "dead": (RuntimeError("read thread is not running"), "RuntimeError: read thread is not running"),
    "size": (np.zeros((32, 16, 3), np.uint8), r"a frame is uint8 \(32, 16, 3\), must be uint8 \(16, 32, 3\)"),
    "grey": (np.zeros((16, 32), np.uint8), r"a frame is uint8 \(16, 32\)"),
    "floats": (np.zeros((16, 32, 3)), r"a frame is float64 \(16, 32, 3\)"),
    "nothing": (None, "a frame is NoneType"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_frame_of_ours_is_the_loss_of_the_camera(monkeypatch, name):
    frame, message = WRONG[name]
    camera, _ = opened(monkeypatch, Played([frame]))
    with pytest.raises(CameraError, match=f"cam_low: LeRobot camera 'opencv': {message}"):
        camera.read(np.zeros_like(PICTURE), 0.1)


@pytest.mark.parametrize("mode", ["bgr", SimpleNamespace(value="bgr")])
def test_a_camera_set_to_bgr_is_refused(monkeypatch, mode):
    with pytest.raises(CameraError, match="colours come as 'bgr'; take color_mode out, the policy wants RGB"):
        opened(monkeypatch, Played(color_mode=mode))
    with pytest.raises(CameraError, match="colours come as 'bgr'"):
        opened(monkeypatch, SimpleNamespace(config=SimpleNamespace(color_mode=mode)))
    opened(monkeypatch, Played(color_mode="rgb"))


def test_a_camera_that_is_not_there_is_told_with_its_name(monkeypatch):
    device = Played()
    device.fails = ConnectionError("Failed to open /dev/video9")
    with pytest.raises(CameraError, match="cam_low: LeRobot camera 'opencv': connect: ConnectionError: Failed to open"):
        opened(monkeypatch, device)


def test_what_lerobot_does_not_know_and_rates_it_cannot_count_are_refused(monkeypatch):
    def refuse(*_):
        raise lerobot_library.LerobotError("type 'opencv' is not known")

    monkeypatch.setattr(lerobot_library, "make_camera", refuse)
    with pytest.raises(CameraError, match="cam_low: LeRobot camera 'opencv': type 'opencv' is not known"):
        LerobotCamera("cam_low", CONFIG)
    with pytest.raises(CameraError, match=r"whole numbers, rate_hz is 29\.97"):
        LerobotCamera("cam_low", CONFIG.model_copy(update={"rate_hz": 29.97}))
