"""The camera process on a camera that a test plays: which frames it passes on, and what it says about them."""

import os

import numpy as np
import pytest
from supervisor_rig import MS, configuration

from controller import camera as process
from controller.board import OwnedBoard, frame_ring, status_ring
from controller.cameras.base import Camera, CameraError, FrameInfo
from controller.child import Child, Spawned
from controller.faults import FaultCode

NAME = "cam_low"


class Played(Camera):
    """Frames (exposure in ms, grey) one after the other; then the device is lost."""

    rate_hz = 30.0

    def __init__(self, frames):
        self._frames = iter(enumerate(frames, start=1))

    def open(self):
        pass

    def close(self):
        pass

    def read(self, out, timeout_s):
        number, (exposure_ms, grey) = next(self._frames, (0, (0, None)))
        if grey is None:
            raise CameraError("the test is over")
        out[...] = grey
        return FrameInfo(exposure_ms * MS, (exposure_ms + 10) * MS, number, True)


@pytest.fixture
def owned():
    made = OwnedBoard(configuration())
    yield made
    made.close()


def play(owned, monkeypatch, frames):
    """The status after all frames, and the exposures of those passed on, in ms."""
    config = configuration()
    monkeypatch.setattr(process, "make", lambda *_: Played(frames))
    child = Child(Spawned(f"camera {NAME}", "controller.camera", config, owned.board, os.getppid()))
    reader, record = owned.rings[frame_ring(NAME)].reader(), owned.rings[frame_ring(NAME)].blank()
    with pytest.raises(CameraError, match="the test is over"):
        process.run(child)
    passed = []
    while reader.next(record):
        passed.append(int(record["t_exposure_ns"]) // MS)
    status = owned.rings[status_ring(f"camera {NAME}")].blank()
    owned.rings[status_ring(f"camera {NAME}")].reader().newest(status)
    return status, passed


def test_a_frame_stamped_before_the_one_before_it_is_not_passed_on(owned, monkeypatch):
    status, passed = play(owned, monkeypatch, [(100, 50), (60, 51), (200, 52)])
    assert passed == [100, 200]
    assert int(status["frames"]) == 3
    assert (int(status["backwards"]), int(status["t_backwards_ns"])) == (1, 70 * MS)


def test_the_status_tells_of_pictures_that_stay_the_same_and_of_their_brightness(owned, monkeypatch):
    status, _ = play(owned, monkeypatch, [(100, 90), (200, 4), (300, 4), (400, 4)])
    assert (int(status["same_frames"]), int(status["t_same_ns"])) == (3, 210 * MS)
    assert int(status["dark_frames"]) == 3
    assert float(status["brightness"]) == 4.0
    assert float(status["watch_us"]) > 0.0


def test_the_loss_of_the_device_is_the_last_that_it_says(owned, monkeypatch):
    status, _ = play(owned, monkeypatch, [(100, 90)])
    assert int(status["fault"]) == FaultCode.CAMERA_LOST
    assert np.char.decode(status["fault_text"]) == "the test is over"
