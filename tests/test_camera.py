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
    """Frames (exposure in ms, grey, number if not the next) one after the other; then the device is lost."""

    rate_hz = 30.0

    def __init__(self, frames):
        self._frames = iter(enumerate(frames, start=1))

    def open(self):
        pass

    def close(self):
        pass

    def read(self, out, timeout_s):
        index, (exposure_ms, grey, *number) = next(self._frames, (0, (0, None)))
        if grey is None:
            raise CameraError("the test is over")
        out[...] = grey
        return FrameInfo(exposure_ms * MS, (exposure_ms + 10) * MS, *(number or [index]), True, 77, 4000.0)


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


def test_frames_are_counted_by_the_devices_own_number(owned, monkeypatch):
    """One comes twice, two are missing, then the device counts anew."""
    frames = [(100, 50, 7), (133, 51, 8), (140, 52, 8), (233, 53, 11), (266, 54, 1), (300, 55, 2)]
    status, passed = play(owned, monkeypatch, frames)
    assert passed == [233, 266, 300], "the ring keeps four, one of which is being filled"
    assert {name: int(status[name]) for name in ("frames", "skipped", "repeated", "backwards")} == {
        "frames": 5, "skipped": 2, "repeated": 1, "backwards": 0,
    }  # fmt: skip


def test_a_frame_goes_on_with_what_the_device_says_about_it(owned, monkeypatch):
    play(owned, monkeypatch, [(100, 50)])
    record = owned.rings[frame_ring(NAME)].blank()
    owned.rings[frame_ring(NAME)].reader().newest(record)
    assert (int(record["number"]), int(record["t_device_ns"]), float(record["exposure_us"])) == (1, 77, 4000.0)
    assert (int(record["t_exposure_ns"]), int(record["t_arrival_ns"])) == (100 * MS, 110 * MS)


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
