"""The RealSense adapter on the real SDK: a software device of librealsense plays the camera, frame by frame.

The SDK's software device has no hardware behind it, so what only hardware can do, a reset and being unplugged, is
played by a wrapper around it.
"""

import fcntl
import inspect
import math

import numpy as np
import pyrealsense2 as rs
import pytest
from camera_rig import Clock, is_rgb, stripes

from controller.cameras import realsense
from controller.cameras.base import CameraError
from controller.cameras.realsense import FIRST_FRAME_S, SILENT_S, RealsenseCamera, connected, serials
from controller.config_camera import Camera

MS = 1_000_000
WIDTH, HEIGHT = 64, 48
WALL_AHEAD_NS = 1_700_000_000_000_000_000


class Device:
    """A D405 as far as the SDK can play one; `reset` and `plugged` are ours."""

    def __init__(self, serial="218622270304", sensor="Stereo Module"):
        self.real = rs.software_device()
        self.real.register_info(rs.camera_info.serial_number, serial)
        self.real.register_info(rs.camera_info.name, "Intel RealSense D405")
        self.sensor = self.real.add_sensor(sensor)
        # the bindings hand the last two over in the order default, step
        self.sensor.add_option(rs.option.exposure, rs.option_range(1.0, 165_000.0, 33_000.0, 1.0), True)
        self.sensor.add_option(rs.option.gain, rs.option_range(16.0, 248.0, 16.0, 1.0), True)
        self.sensor.add_option(rs.option.enable_auto_exposure, rs.option_range(0.0, 1.0, 1.0, 1.0), True)
        self.profiles = {}
        for uid, (kind, form, width, height, rate, size) in enumerate(
            [
                (rs.stream.depth, rs.format.z16, WIDTH, HEIGHT, 30, 2),
                (rs.stream.color, rs.format.bgr8, WIDTH, HEIGHT, 30, 3),
                (rs.stream.color, rs.format.rgb8, WIDTH, HEIGHT, 30, 3),
                (rs.stream.color, rs.format.rgb8, WIDTH, HEIGHT, 15, 3),
                (rs.stream.color, rs.format.rgb8, 128, 96, 5, 3),
            ]
        ):
            stream = rs.video_stream()
            stream.type, stream.fmt, stream.uid, stream.bpp = kind, form, uid, size
            stream.width, stream.height, stream.fps = width, height, rate
            self.profiles[kind, form, width, rate] = self.sensor.add_video_stream(stream)
        self.plugged, self.resets = True, 0

    def __getattr__(self, name):
        return getattr(self.real, name)

    def is_connected(self):
        return self.plugged

    def hardware_reset(self):
        self.resets += 1

    def send(self, picture, number, t_ms, domain=rs.timestamp_domain.hardware_clock, **metadata):
        frame = rs.software_video_frame()
        frame.pixels, frame.stride, frame.bpp = picture, picture.shape[1] * 3, 3
        frame.timestamp, frame.frame_number, frame.domain = t_ms, number, domain
        frame.profile = self.profiles[rs.stream.color, rs.format.rgb8, WIDTH, 30].as_video_stream_profile()
        for name, value in metadata.items():
            self.sensor.set_metadata(getattr(rs.frame_metadata_value, name), value)
        self.sensor.on_video_frame(frame)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def make(device, clock):
    made = []

    def make(devices=None, **config):
        settings = Camera(kind="realsense", **{"serial": "218622270304", "width": WIDTH, "height": HEIGHT} | config)
        found = [device] if devices is None else devices
        camera = RealsenseCamera("cam_high", settings, lambda: found, clock, lambda: clock.now_ns + WALL_AHEAD_NS)
        made.append(camera)
        return camera

    yield make
    for camera in made:
        camera.close()


@pytest.fixture
def camera(make):
    camera = make()
    camera.open()
    return camera


def blank():
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def test_a_frame_is_rgb_and_carries_the_devices_own_number(camera, device):
    out = blank()
    device.send(stripes(HEIGHT, WIDTH), 41, 1000.0)
    assert camera.read(out, 1.0).number == 41
    assert is_rgb(out, 0)
    assert camera.read(out, 0.01) is None


def test_only_the_newest_frame_is_kept_and_it_is_a_copy(camera, device):
    out = blank()
    for number in (1, 2, 3):
        device.send(np.full((HEIGHT, WIDTH, 3), number, np.uint8), number, 1000.0 + 33 * number)
    assert camera.read(out, 1.0).number == 3
    assert (out == 3).all()
    device.send(np.full((HEIGHT, WIDTH, 3), 4, np.uint8), 4, 1200.0)
    assert (out == 3).all()


def test_global_time_is_the_middle_of_the_exposure_on_our_clock(camera, device, clock):
    t_read_out_ms = (clock.now_ns + WALL_AHEAD_NS) / MS - 20.0
    stamps = {"actual_exposure": 8000, "frame_timestamp": 504_000, "sensor_timestamp": 500_000}
    device.send(blank(), 1, t_read_out_ms, rs.timestamp_domain.global_time, **stamps)
    info = camera.read(blank(), 1.0)
    assert info.exposure_known
    assert info.exposure_us == 8000.0
    assert info.t_exposure_ns == pytest.approx(clock.now_ns - 24 * MS, abs=1000)
    assert info.t_device_ns == pytest.approx(t_read_out_ms * MS, abs=1000)
    assert info.t_arrival_ns == clock.now_ns


def test_the_middle_is_half_an_exposure_before_the_read_out_where_the_device_tells_no_more(camera, device, clock):
    t_read_out_ms = (clock.now_ns + WALL_AHEAD_NS) / MS
    device.send(blank(), 1, t_read_out_ms, rs.timestamp_domain.global_time, actual_exposure=10_000)
    assert camera.read(blank(), 1.0).t_exposure_ns == pytest.approx(clock.now_ns - 5 * MS, abs=1000)


def test_a_counter_of_32_bits_that_ran_over_changes_nothing(camera, device, clock):
    stamps = {"frame_timestamp": 1000, "sensor_timestamp": 2**32 - 3000}
    device.send(blank(), 1, (clock.now_ns + WALL_AHEAD_NS) / MS, rs.timestamp_domain.global_time, **stamps)
    assert camera.read(blank(), 1.0).t_exposure_ns == pytest.approx(clock.now_ns - 4 * MS, abs=1000)


def test_the_devices_own_clock_is_mapped_but_the_exposure_does_not_count_as_known(camera, device, clock):
    exposures = []
    for number, late_ms in enumerate((30, 10, 25, 10, 18)):
        clock.now_ns = 10_000_000_000 + round(number * 33.0 * MS) + late_ms * MS
        device.send(blank(), number, 777.0 + number * 33.0, actual_exposure=4000)
        info = camera.read(blank(), 1.0)
        assert not info.exposure_known
        assert info.t_device_ns == round((777.0 + number * 33.0) * MS)
        exposures.append(info.t_exposure_ns)
    assert np.diff(exposures)[1:] == pytest.approx(33 * MS, abs=1000)


@pytest.mark.parametrize("off_ms", [50.0, -3_600_000.0])
def test_a_stamp_that_cannot_be_is_not_believed(camera, device, clock, off_ms):
    device.send(blank(), 1, (clock.now_ns + WALL_AHEAD_NS) / MS + off_ms, rs.timestamp_domain.global_time)
    info = camera.read(blank(), 1.0)
    assert (info.t_exposure_ns, info.exposure_known) == (info.t_arrival_ns, False)


def test_the_hosts_own_stamp_is_no_better_than_the_arrival(camera, device):
    device.send(blank(), 1, 5.0, rs.timestamp_domain.system_time)
    info = camera.read(blank(), 1.0)
    assert (info.t_exposure_ns, info.exposure_known) == (info.t_arrival_ns, False)
    assert math.isnan(info.exposure_us)


@pytest.mark.parametrize(
    ("config", "option", "value"),
    [
        ({}, "enable_auto_exposure", 1.0),
        ({"exposure_us": 5000}, "enable_auto_exposure", 0.0),
        ({"exposure_us": 5000}, "exposure", 5000.0),
        ({"exposure_us": 5000, "gain": 32}, "gain", 32.0),
    ],
)
def test_exposure_and_gain_are_set_on_the_sensor_that_gives_colour(make, device, config, option, value):
    device.sensor.set_option(rs.option.enable_auto_exposure, 1.0 - value if option.startswith("enable") else 1.0)
    make(**config).open()
    assert device.sensor.get_option(getattr(rs.option, option)) == value


class ColourSensor:
    """A sensor for colour alone, as a D435 has one: it counts exposure in UVC's 100 us. The SDK cannot play that."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def is_color_sensor(self):
        return True


def test_a_sensor_for_colour_alone_counts_its_exposure_in_another_unit(make, device):
    device.query_sensors = lambda: [ColourSensor(sensor) for sensor in device.real.query_sensors()]
    camera = make(exposure_us=8000)
    camera.open()
    assert device.sensor.get_option(rs.option.exposure) == 80.0
    device.send(blank(), 1, 1000.0, actual_exposure=80)
    assert camera.read(blank(), 1.0).exposure_us == 8000.0


def test_an_exposure_beyond_the_sensors_is_refused(make):
    with pytest.raises(CameraError, match=r"exposure_us = 200000 is beyond 1\.\.165000"):
        make(exposure_us=200_000).open()


def test_a_camera_that_is_not_there_is_named_with_those_that_are(make):
    others = [Device("111"), Device("222")]
    with pytest.raises(CameraError, match=r"cam_high: RealSense 218622270304 is not connected; found: 111 .*D405.*222"):
        make(others).open()


def test_the_right_one_of_several_is_opened(make, device):
    camera, out = make([Device("111"), device]), blank()
    camera.open()
    device.send(stripes(HEIGHT, WIDTH), 5, 1000.0)
    assert camera.read(out, 1.0).number == 5


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"rate_hz": 60.0}, r"has 64x48 at 15, 30 Hz"),
        ({"width": 32}, r"no colour of 32x48 at 30 Hz.* sizes 64x48, 128x96"),
    ],
)
def test_a_size_or_rate_it_has_not_is_refused_with_what_it_has(make, config, said):
    with pytest.raises(CameraError, match=said):
        make(**config).open()


def test_a_camera_that_another_program_holds_is_named(make, camera):
    with pytest.raises(CameraError, match=r"cannot be opened; does another program use it\?"):
        make().open()


@pytest.mark.parametrize(("frames", "patience_s"), [(0, FIRST_FRAME_S), (1, SILENT_S)])
def test_a_camera_that_goes_quiet_is_reset(camera, device, clock, frames, patience_s):
    for number in range(frames):
        device.send(blank(), number, 1000.0)
        assert camera.read(blank(), 1.0) is not None
    clock.sleep(patience_s - 0.01)
    assert camera.read(blank(), 0.001) is None
    clock.sleep(0.02)
    with pytest.raises(CameraError, match=r"sent no frame for .* s; it was reset"):
        camera.read(blank(), 0.001)
    assert device.resets == 1


def test_a_camera_that_was_unplugged_is_not_reset_and_comes_back(make, camera, device, clock):
    device.plugged = False
    clock.sleep(FIRST_FRAME_S)
    with pytest.raises(CameraError, match="was unplugged"):
        camera.read(blank(), 0.001)
    assert device.resets == 0
    camera.close()
    device.plugged = True
    again, out = make(), blank()
    again.open()
    device.send(stripes(HEIGHT, WIDTH), 1, 10.0)
    assert again.read(out, 1.0).number == 1


def test_a_reset_that_fails_is_told(make, clock):
    bare = Device()
    bare.hardware_reset = bare.real.hardware_reset  # which a software device refuses
    camera = make([bare])
    camera.open()
    clock.sleep(FIRST_FRAME_S)
    with pytest.raises(CameraError, match=r"its reset failed: .*unplug it"):
        camera.read(blank(), 0.001)


def test_cameras_are_looked_for_by_one_process_at_a_time(make, device):
    def is_locked():
        with open(realsense.__file__, "rb") as another:
            try:
                fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    locked = []
    camera = make()
    camera._devices = lambda: locked.append(is_locked()) or [device]  # noqa: SLF001
    camera.open()
    assert locked == [True]
    assert not is_locked()


def test_it_must_be_open_and_may_be_closed_twice(make):
    camera = make()
    with pytest.raises(CameraError, match="call open"):
        camera.read(blank(), 0.1)
    camera.open()
    camera.close()
    camera.close()


def test_the_sdk_can_be_asked_for_what_is_connected(make):
    assert "218622270304" not in serials(connected())
    with pytest.raises(CameraError, match=r"found: none\. Check its cable"):
        make([]).open()


def test_what_the_wrapper_plays_the_sdk_has(device):
    assert "is_color_sensor(self" in rs.sensor.is_color_sensor.__doc__
    for name in ("is_connected", "hardware_reset"):
        assert callable(getattr(rs.device, name))
        assert list(inspect.signature(getattr(Device, name)).parameters) == ["self"]
        assert f"{name}(self" in getattr(rs.device, name).__doc__
