"""Cameras that make their own pictures: the paced ones on a fake clock, the drawn ones in software OpenGL."""

import logging
import math

import numpy as np
import pytest
from camera_rig import Clock

from controller.cameras.base import CameraError
from controller.cameras.letterbox import letterbox_chw
from controller.cameras.pace import Governor, Pacer
from controller.cameras.pattern import PatternCamera, painted_number
from controller.inputs import TRAVEL_RAD, seen_joints
from controller.robots.base import JOINT_NAMES
from controller.sim import gl, kit, task, world

PERIOD_NS = 33_333_333


@pytest.fixture
def clock():
    return Clock()


def test_deadlines_do_not_drift(clock):
    pacer = Pacer(30.0, clock, clock.sleep)
    start_ns = clock.now_ns
    beats = []
    for _ in range(301):
        beats.append(pacer.wait(1.0))
        clock.now_ns += 3_000_000
    assert [number for number, _ in beats] == list(range(1, 302))
    assert beats[-1][1] - start_ns == 10_000_000_000


def test_missed_deadlines_are_skipped_and_counted(clock):
    pacer = Pacer(30.0, clock, clock.sleep)
    assert pacer.wait(1.0)[0] == 1
    clock.now_ns += 4 * PERIOD_NS + 1_000_000
    assert pacer.wait(1.0)[0] == 5
    before_ns = clock.now_ns
    assert pacer.wait(1.0)[0] == 6
    assert 0 < clock.now_ns - before_ns < PERIOD_NS


def test_a_deadline_beyond_the_timeout_is_none(clock):
    pacer = Pacer(1.0, clock, clock.sleep)
    pacer.wait(1.0)
    start_ns = clock.now_ns
    assert pacer.wait(0.2) is None
    assert clock.now_ns - start_ns == 200_000_000
    assert pacer.wait(1.0)[0] == 2


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, 1e6])
def test_an_impossible_rate_is_refused(rate_hz):
    with pytest.raises(ValueError, match="rate"):
        Pacer(rate_hz)


def feed(governor, busy_s, seconds):
    """The rates passed through while every picture takes busy_s."""
    rates = [governor.rate_hz]
    spent_s = 0.0
    while spent_s < seconds:
        spent_s += max(busy_s, 1.0 / governor.rate_hz)
        if governor.note(busy_s):
            rates.append(governor.rate_hz)
    return rates


def test_the_rate_falls_to_what_the_machine_can_do():
    assert feed(Governor(30.0), 0.036, 20.0) == [30.0, 20.0, 15.0]


def test_it_falls_no_lower_than_the_lowest_rate():
    assert feed(Governor(30.0), 1.0, 600.0)[-1] == 10.0


def test_it_rises_again_when_pictures_are_quick():
    governor = Governor(30.0)
    feed(governor, 0.036, 20.0)
    assert feed(governor, 0.010, 60.0) == [15.0, 20.0, 30.0]


def test_a_few_slow_pictures_change_nothing():
    governor = Governor(30.0)
    for index in range(600):
        assert not governor.note(0.030 if index % 4 == 0 else 0.010)


def test_a_rate_that_just_fails_is_tried_less_and_less_often():
    governor = Governor(30.0)
    changes = 0
    spent_s = 0.0
    while spent_s < 600.0:
        busy_s = 0.024 if governor.rate_hz == 30.0 else 0.012  # quick alone, slow at the full rate
        spent_s += max(busy_s, 1.0 / governor.rate_hz)
        changes += governor.note(busy_s)
    assert 4 <= changes <= 24


def pattern(clock, **size):
    options = {"width": 640, "height": 480, "rate_hz": 30.0} | size
    camera = PatternCamera("cam", **options, clock=clock, sleep=clock.sleep)
    camera.open()
    return camera


def test_pattern_frames_carry_their_number_and_move(clock):
    camera = pattern(clock)
    pictures = np.zeros((3, 480, 640, 3), np.uint8)
    for index in range(3):
        info = camera.read(pictures[index], 1.0)
        assert info.number == painted_number(pictures[index]) == index + 1
        assert info.exposure_known
        assert info.t_exposure_ns <= info.t_arrival_ns == clock.now_ns
    assert (pictures[1] != pictures[2]).any()
    np.testing.assert_array_equal(pictures[1][20:, 4:], pictures[2][20:, :-4])


def test_pattern_skips_numbers_when_read_too_late(clock):
    camera = pattern(clock)
    out = np.zeros((480, 640, 3), np.uint8)
    camera.read(out, 1.0)
    clock.now_ns += 3 * PERIOD_NS + 1_000_000
    assert camera.read(out, 1.0).number == painted_number(out) == 4


def test_pattern_times_out(clock):
    camera = pattern(clock, rate_hz=2.0)
    out = np.zeros((480, 640, 3), np.uint8)
    assert camera.read(out, 0.1) is not None
    assert camera.read(out, 0.1) is None


def test_pattern_must_be_open_and_of_a_fitting_size(clock):
    camera = PatternCamera("cam", 640, 480, 30.0)
    with pytest.raises(CameraError, match="open"):
        camera.read(np.zeros((480, 640, 3), np.uint8), 0.1)
    with pytest.raises(CameraError, match="650x480"):
        PatternCamera("cam", 650, 480, 30.0)


@pytest.mark.parametrize(
    ("wanted", "gpu", "libraries", "chosen"),
    [
        (gl.Gl.AUTO, True, {"EGL", "OSMesa"}, gl.Gl.EGL),
        (gl.Gl.AUTO, False, {"EGL", "OSMesa"}, gl.Gl.OSMESA),
        (gl.Gl.AUTO, False, {"EGL"}, gl.Gl.EGL),
        (gl.Gl.OSMESA, True, {"EGL", "OSMesa"}, gl.Gl.OSMESA),
        (gl.Gl.EGL, False, {"EGL", "OSMesa"}, gl.Gl.EGL),
    ],
)
def test_the_machine_decides_the_renderer(wanted, gpu, libraries, chosen):
    assert gl.choose(wanted, lambda: gpu, lambda name: name if name in libraries else None) is chosen


@pytest.mark.parametrize(
    ("wanted", "package"), [(gl.Gl.AUTO, "libegl1"), (gl.Gl.EGL, "libegl1"), (gl.Gl.OSMESA, "libosmesa6")]
)
def test_a_missing_library_names_its_package(wanted, package):
    with pytest.raises(CameraError, match=package):
        gl.choose(wanted, lambda: False, lambda _: None)


class Shelf:
    """One world; `renew` makes it the next one."""

    def __init__(self):
        built = kit.build()
        self.qpos = np.zeros(built.model.nq)
        self.qpos[built.joint_qpos] = np.tile([0, math.pi / 3, math.pi / 6, math.pi / 5, 0, 0, 0.03], 2)
        self.qpos[built.environment_qpos] = task.layout(0)
        self.joint = built.joint_qpos[0]
        self.joints = built.joint_qpos
        self.number = 0

    def renew(self):
        self.number += 1

    def newest(self, out):
        if self.number:
            world.fill(out, 1000 + self.number, self.qpos, np.zeros(14))
        return self.number


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def open_camera(shelf, clock):
    """Opens cameras on the shelf's world, with the renderer that the set-up provides, and closes them again."""
    from controller.cameras.sim import SimCamera

    chosen = gl.choose(gl.Gl.AUTO)
    opened = []

    def make(name, rate_hz=30.0):
        camera = SimCamera(name, 640, 480, rate_hz, shelf, chosen, clock, clock.sleep)
        camera.open()
        opened.append(camera)
        return camera

    yield make
    for camera in opened:
        camera.close()


@pytest.mark.parametrize("name", kit.CAMERAS)
def test_every_camera_sees_the_scene(open_camera, shelf, name):
    shelf.renew()
    out = np.zeros((480, 640, 3), np.uint8)
    info = open_camera(name).read(out, 1.0)
    assert (info.t_exposure_ns, info.number, info.exposure_known) == (1001, 1, True)
    red, green, blue = (out[..., channel].astype(int) for channel in range(3))
    orange_arm = (red > green + 40) & (green > blue + 30)
    blue_arm = (blue > red + 40) & (blue > green + 10)
    assert orange_arm.mean() > 0.003
    assert blue_arm.mean() > 0.003


def test_the_picture_is_the_right_way_up(open_camera, shelf):
    shelf.renew()
    out = np.zeros((480, 640, 3), np.uint8)
    open_camera("cam_low").read(out, 1.0)
    sky, table = out[:60].mean(axis=(0, 1)), out[-60:].mean(axis=(0, 1))
    assert sky[2] > sky[0]
    assert table[0] > table[2]


def test_a_moved_arm_shows(open_camera, shelf):
    camera = open_camera("cam_high")
    pictures = np.zeros((2, 480, 640, 3), np.uint8)
    for picture, angle in zip(pictures, (0.0, 0.5), strict=True):
        shelf.qpos[shelf.joint] = angle
        shelf.renew()
        assert camera.read(picture, 1.0) is not None
    assert (pictures[0] != pictures[1]).any(axis=-1).mean() > 0.01


@pytest.mark.parametrize("name", kit.CAMERAS)
def test_every_joint_that_a_camera_sees_changes_the_letterboxed_picture(open_camera, shelf, name):
    """Or a camera on which all is well would pass for frozen."""
    camera, frame, home = open_camera(name), np.zeros((480, 640, 3), np.uint8), shelf.qpos.copy()

    def tile():
        shelf.renew()
        assert camera.read(frame, 1.0) is not None
        out = np.zeros((3, 224, 224), np.uint8)
        letterbox_chw(frame, out)
        return out

    before = tile()
    assert before.mean() > 50.0, "not dark either"
    for joint in seen_joints(name):
        shelf.qpos[:] = home
        shelf.qpos[shelf.joints[joint]] += TRAVEL_RAD
        assert (tile() != before).any(), JOINT_NAMES[joint]


def test_the_same_world_is_not_shown_twice(open_camera, shelf, clock):
    camera = open_camera("cam_low")
    out = np.zeros((480, 640, 3), np.uint8)
    assert camera.read(out, 0.1) is None
    shelf.renew()
    first = camera.read(out, 0.1)
    assert camera.read(out, 0.1) is None
    shelf.renew()
    second = camera.read(out, 0.1)
    assert (first.t_exposure_ns, second.t_exposure_ns) == (1001, 1002)
    assert second.number - first.number > 1, "the frames it could not make are missing from the count"


def test_a_slow_machine_lowers_the_rate_aloud(open_camera, shelf, clock, caplog, monkeypatch):
    camera = open_camera("cam_low")
    monkeypatch.setattr("controller.cameras.sim._Stage.draw", lambda *_: clock.sleep(0.045))
    out = np.zeros((480, 640, 3), np.uint8)
    with caplog.at_level(logging.WARNING):
        for _ in range(40):
            shelf.renew()
            camera.read(out, 1.0)
    assert camera.rate_hz == 20.0
    assert "from_hz=30 to_hz=20" in caplog.text


def test_a_camera_the_kit_lacks_and_a_world_it_cannot_show(open_camera, shelf):
    with pytest.raises(CameraError, match="cam_top"):
        open_camera("cam_top")
    camera = open_camera("cam_low")
    shelf.qpos = np.zeros(12)
    shelf.renew()
    with pytest.raises(CameraError, match="12 positions"):
        camera.read(np.zeros((480, 640, 3), np.uint8), 0.1)
