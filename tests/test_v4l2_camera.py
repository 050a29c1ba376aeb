"""The V4L2 adapter on the real linuxpy, which asks a kernel that the test plays; and its decoders on real bytes."""

import io
import math

import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from camera_rig import Clock, is_rgb, stripes
from fake_v4l2 import Kernel
from linuxpy.video import raw
from PIL import Image

from controller.cameras.base import CameraError
from controller.cameras.v4l2 import BUFFERS, SILENT_S, V4l2Camera, decode_mjpeg, decode_yuyv, named
from controller.config_camera import Camera

MS = 1_000_000
WIDTH, HEIGHT = 64, 48
MONOTONIC, BEGIN = raw.BufferFlag.TIMESTAMP_MONOTONIC, raw.BufferFlag.TSTAMP_SRC_SOE
DHT = b"\xff\xc4"


def blank():
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def jpeg(picture, tables=True):
    """tables = False: without its Huffman tables, as most cameras send it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    data = file.getvalue()
    while not tables and (at := data.find(DHT)) >= 0:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    return data


def yuyv(rgb, full=False, red=0.299, blue=0.114):
    """RGB -> YUYV after the standard's own formulas; colour is that of the left one of two pixels."""
    r, g, b = (rgb[..., index].astype(float) for index in range(3))
    luma = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    if not full:
        luma, cb, cr = 16 + luma * 219 / 255, cb * 224 / 255, cr * 224 / 255
    packed = np.empty((*luma.shape, 2))
    packed[..., 0] = luma
    packed[:, 0::2, 1], packed[:, 1::2, 1] = 128 + cb[:, 0::2], 128 + cr[:, 0::2]
    return np.clip(np.round(packed), 0, 255).astype(np.uint8).tobytes()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    made = Kernel(tmp_path / "video0")
    made.install(monkeypatch)
    return made


@pytest.fixture
def make(kernel, clock):
    made = []

    def make(**config):
        settings = Camera(kind="v4l2", **{"device": str(kernel.path), "width": WIDTH, "height": HEIGHT} | config)
        made.append(V4l2Camera("cam_low", settings, clock))
        return made[-1]

    yield make
    for camera in made:
        camera.close()


def opened(make, **config):
    camera = make(**config)
    camera.open()
    return camera


@pytest.mark.parametrize(("pixel_format", "encode"), [("mjpeg", jpeg), ("yuyv", yuyv)])
def test_a_frame_is_rgb_with_the_kernels_own_stamp_and_number(make, kernel, clock, pixel_format, encode):
    camera, out = opened(make, pixel_format=pixel_format), blank()
    kernel.send(encode(stripes()), 17, clock.now_ns - 21 * MS, MONOTONIC | BEGIN)
    info = camera.read(out, 0.1)
    assert is_rgb(out, 6)
    assert (info.number, info.exposure_known) == (17, True)
    assert info.t_exposure_ns == info.t_device_ns == clock.now_ns - 21 * MS
    assert info.t_arrival_ns == clock.now_ns
    assert camera.read(out, 0.1) is None


def test_of_frames_that_wait_the_newest_is_shown_and_none_is_lost_to_the_count(make, kernel, clock):
    camera, out = opened(make), blank()
    for sequence in range(BUFFERS):
        kernel.send(jpeg(np.full((HEIGHT, WIDTH, 3), 60 * sequence, np.uint8)), sequence, clock.now_ns, MONOTONIC)
    assert camera.read(out, 0.1).number == BUFFERS - 1
    assert abs(int(out.mean()) - 60 * (BUFFERS - 1)) <= 1
    for sequence in range(10, 30):  # every buffer has gone back to the kernel
        kernel.send(jpeg(blank()), sequence, clock.now_ns, MONOTONIC)
        assert camera.read(out, 0.1).number == sequence


@pytest.mark.parametrize(
    ("flags", "late_ms", "exposure_is_stamp", "known"),
    [
        (MONOTONIC | BEGIN, 10, True, True),
        (MONOTONIC, 10, True, False),  # stamped at the end of the frame
        (raw.BufferFlag.TIMESTAMP_UNKNOWN | BEGIN, 10, False, False),
        (MONOTONIC | BEGIN, -10, False, False),
        (MONOTONIC | BEGIN, 3_600_000, False, False),
    ],
)
def test_a_stamp_counts_as_far_as_the_kernel_vouches_for_it(
    make, kernel, clock, flags, late_ms, exposure_is_stamp, known
):
    clock.now_ns += 10**13
    camera = opened(make)
    t_stamp_ns = clock.now_ns - late_ms * MS
    kernel.send(jpeg(blank()), 0, t_stamp_ns, flags)
    info = camera.read(blank(), 0.1)
    assert info.exposure_known is known
    assert info.t_exposure_ns == (t_stamp_ns if exposure_is_stamp else info.t_arrival_ns)
    assert info.t_device_ns == t_stamp_ns


def test_damaged_frames_are_left_out_and_a_camera_that_sends_nothing_else_is_lost(make, kernel, clock):
    camera, out, good = opened(make), blank(), jpeg(stripes())
    bad = [
        (good, MONOTONIC | raw.BufferFlag.ERROR, "marks its frames as damaged"),
        (good[: len(good) // 2], MONOTONIC, "truncated"),
        (b"", MONOTONIC, "cannot identify"),
        (jpeg(stripes(32, 32)), MONOTONIC, "a picture of 32x32 came, asked for 64x48"),
    ]
    for sequence, (data, flags, said) in enumerate(bad):
        kernel.send(data, sequence, clock.now_ns, flags)
        assert camera.read(out, 0.1) is None, said
        clock.sleep(SILENT_S)
        kernel.send(data, sequence, clock.now_ns, flags)
        with pytest.raises(CameraError, match=f"sent no picture for .* s; .*{said}"):
            camera.read(out, 0.1)
        camera.close()
        camera.open()
    kernel.send(good, 9, clock.now_ns, MONOTONIC)
    assert camera.read(out, 0.1).number == 9


def test_a_camera_that_is_unplugged_is_named_with_those_that_are_there_and_comes_back(make, kernel, clock):
    camera = opened(make)
    kernel.plugged = False
    kernel.path.unlink()
    with pytest.raises(CameraError, match=r"cam_low: .*/video0 failed: .*No such device; found: "):
        camera.read(blank(), 0.1)
    camera.close()
    with pytest.raises(CameraError, match=r"cannot be opened: .*No such file"):
        camera.open()
    kernel.path.write_bytes(bytes(1 << 18))
    kernel.plugged = True
    camera.open()
    kernel.send(jpeg(blank()), 0, clock.now_ns, MONOTONIC)
    assert camera.read(blank(), 0.1).number == 0


def test_a_camera_that_goes_quiet_is_lost(make, clock):
    camera = opened(make)
    clock.sleep(SILENT_S - 0.1)
    assert camera.read(blank(), 0.1) is None
    clock.sleep(0.2)
    with pytest.raises(CameraError, match=r"sent no picture for 3\.1 s; check its cable"):
        camera.read(blank(), 0.1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"width": 128}, "has no MJPG of 128x48, it would give MJPG of 64x48"),
        ({"rate_hz": 60.0}, "gives 30 Hz, configured are 60 Hz"),
        ({"exposure_us": 300_000}, r"exposure_us = 300000 is beyond 300\.\.204700"),
        ({"exposure_us": 5000, "gain": 101}, r"gain = 101 is beyond 0\.\.100"),
    ],
)
def test_what_the_driver_would_quietly_change_is_refused(make, config, said):
    with pytest.raises(CameraError, match=said):
        opened(make, **config)


def test_a_format_that_the_camera_lacks_is_refused(make, kernel):
    del kernel.formats["YUYV"]
    with pytest.raises(CameraError, match="has no YUYV of 64x48, it would give MJPG"):
        opened(make, pixel_format="yuyv")


def test_exposure_is_the_cameras_own_or_that_of_the_configuration(make, kernel, clock):
    opened(make).close()
    assert kernel.value(raw.ControlID.EXPOSURE_AUTO) == 3
    assert kernel.value(raw.ControlID.EXPOSURE_AUTO_PRIORITY) == 0
    camera = opened(make, exposure_us=8000, gain=7)
    assert kernel.value(raw.ControlID.EXPOSURE_AUTO) == 1
    assert kernel.value(raw.ControlID.EXPOSURE_ABSOLUTE) == 80
    assert kernel.value(raw.ControlID.GAIN) == 7
    kernel.send(jpeg(blank()), 0, clock.now_ns, MONOTONIC)
    assert camera.read(blank(), 0.1).exposure_us == 8000.0


def test_a_camera_with_other_words_for_its_exposure_is_set_all_the_same(make, kernel):
    kernel.exposure_menu = {0: b"Auto Mode", 2: b"Shutter Priority Mode"}
    opened(make)
    assert kernel.value(raw.ControlID.EXPOSURE_AUTO) == 0
    opened(make, exposure_us=8000)
    assert kernel.value(raw.ControlID.EXPOSURE_AUTO) == 2
    kernel.exposure_menu = {0: b"Auto Mode"}
    with pytest.raises(CameraError, match="offers Auto Exposure = Auto Mode only; remove exposure_us"):
        opened(make, exposure_us=8000)
    kernel.exposure_menu = {1: b"Manual Mode"}
    with pytest.raises(CameraError, match="offers Auto Exposure = Manual Mode only; set exposure_us"):
        opened(make)


def test_whatever_the_library_raises_names_the_camera(make, kernel):
    kernel.controls[0].maximum = 2**40
    with pytest.raises(CameraError, match=r"video0 cannot be opened: RuntimeWarning.*exceeds upper bound"):
        opened(make)
    kernel.controls, kernel.rate_hz = [], 0
    with pytest.raises(CameraError, match="video0 gives 0 Hz"):
        opened(make)


def test_a_camera_without_controls_is_opened_unless_they_are_asked_for(make, kernel, clock):
    kernel.controls = []
    camera = opened(make)
    kernel.send(jpeg(blank()), 0, clock.now_ns, MONOTONIC)
    assert math.isnan(camera.read(blank(), 0.1).exposure_us)
    with pytest.raises(CameraError, match="has no exposure_us"):
        opened(make, exposure_us=5000)


def test_it_stops_the_stream_and_may_be_closed_twice(make, kernel):
    camera = opened(make)
    assert kernel.streaming
    camera.close()
    assert not kernel.streaming
    camera.close()
    with pytest.raises(CameraError, match="call open"):
        camera.read(blank(), 0.1)


def smooth():
    """Colours of all kinds that change little from pixel to pixel."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x // 2 * 8, y * 5, 255 - (x // 2 + y) * 3], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("space", "red", "blue"), [(Colorspace.ITU601, 0.299, 0.114), (Colorspace.ITU709, 0.2126, 0.0722)]
)
def test_yuyv_gives_back_the_colours_it_was_made_from(full, space, red, blue):
    out = blank()
    decode_yuyv(yuyv(smooth(), full, red, blue), out, space, ColorRange.JPEG if full else ColorRange.MPEG)
    assert np.abs(out.astype(int) - smooth()).max() <= 3, "two roundings to 8 bits, colour scaled up by 1.8"


@pytest.mark.parametrize(
    ("quantization", "full"), [(raw.Quantization.DEFAULT, False), (raw.Quantization.FULL_RANGE, True)]
)
def test_the_range_is_the_one_that_the_driver_tells(make, kernel, clock, quantization, full):
    kernel.quantization = quantization
    camera, out = opened(make, pixel_format="yuyv"), blank()
    kernel.send(yuyv(smooth(), full), 0, clock.now_ns, MONOTONIC)
    camera.read(out, 0.1)
    assert np.abs(out.astype(int) - smooth()).max() <= 3


def test_yuyv_of_another_size_is_refused():
    with pytest.raises(ValueError, match="of 100 bytes came, 64x48 has 6144"):
        decode_yuyv(bytes(100), blank(), Colorspace.ITU601, ColorRange.MPEG)


def test_mjpeg_without_huffman_tables_is_the_same_picture():
    whole, bare = blank(), blank()
    assert DHT not in jpeg(smooth(), tables=False)
    decode_mjpeg(jpeg(smooth()), whole)
    decode_mjpeg(jpeg(smooth(), tables=False), bare)
    assert np.abs(whole.astype(int) - smooth()).max() < 12
    assert (whole == bare).all()


def test_cameras_are_found_by_their_lasting_names(tmp_path):
    for name in ("usb-Logi_C920_7F-video-index0", "usb-Logi_C920_7F-video-index1", "usb-Other-video-index0"):
        (tmp_path / name).touch()
    assert named(tmp_path) == [str(tmp_path / f"usb-{name}-video-index0") for name in ("Logi_C920_7F", "Other")]
