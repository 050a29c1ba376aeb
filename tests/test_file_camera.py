"""The camera that plays a file: real files, a fake clock."""

import av
import numpy as np
import pytest
from camera_rig import Clock, is_rgb, stripes
from PIL import Image

from controller.cameras.base import CameraError
from controller.cameras.file import FileCamera
from controller.config_camera import Camera

WIDTH, HEIGHT = 64, 48

def video(path, count, rate=30, make=lambda number: stripes()):
    """A film of `count` pictures."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(count):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(make(number), format="rgb24")))
        file.mux(stream.encode())
    return path


def folder(path, count, suffix=".png"):
    path.mkdir()
    for number in range(count):
        Image.fromarray(grey(number)).save(path / f"{number:04d}{suffix}")
    return path


def grey(number):
    return np.full((HEIGHT, WIDTH, 3), 20 + 20 * number, np.uint8)


def shown(picture):
    """Which `grey` it is."""
    return round((float(picture.mean()) - 20) / 20)


@pytest.fixture
def clock():
    return Clock()


def opened(path, clock, **more):
    config = Camera(kind="file", path=str(path), **{"width": WIDTH, "height": HEIGHT} | more)
    camera = FileCamera("cam_low", config, clock, clock.sleep)
    camera.open()
    return camera


def blank():
    return np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def test_a_video_is_shown_in_rgb_at_its_rate(tmp_path, clock):
    camera, out, begin_ns = opened(video(tmp_path / "a.mp4", 4), clock), blank(), clock.now_ns
    infos = [camera.read(out, 1.0) for _ in range(4)]
    assert is_rgb(out, 12)
    assert [info.number for info in infos] == [1, 2, 3, 4]
    assert [round((info.t_exposure_ns - begin_ns) * 30e-9, 6) for info in infos] == [0, 1, 2, 3]
    assert all(info.exposure_known and info.t_arrival_ns >= info.t_exposure_ns for info in infos)
    camera.close()


@pytest.mark.parametrize("make", [folder, lambda path, count: video(path, count, make=grey)])
def test_it_shows_each_picture_once_and_begins_again(tmp_path, clock, make):
    camera, out = opened(make(tmp_path / "film.mp4", 5), clock), blank()
    seen = []
    for number in range(1, 13):
        assert camera.read(out, 1.0).number == number
        seen.append(shown(out))
    assert seen == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_a_folder_of_jpeg_pictures_is_shown_in_rgb(tmp_path, clock):
    (tmp_path / "p").mkdir()
    Image.fromarray(stripes()).save(tmp_path / "p" / "a.JPG", quality=95)
    (tmp_path / "p" / "notes.txt").write_text("no picture")
    out = blank()
    assert opened(tmp_path / "p", clock).read(out, 1.0).number == 1
    assert is_rgb(out, 12)


def test_without_loop_it_is_lost_where_the_file_ends_and_begins_anew_when_opened_again(tmp_path, clock):
    camera, out = opened(folder(tmp_path / "p", 3), clock, loop=False), blank()
    for _ in range(3):
        camera.read(out, 1.0)
    with pytest.raises(CameraError, match=r"cam_low: .*/p has ended after 3 frames; with loop = true"):
        camera.read(out, 1.0)
    camera.close()
    again = opened(tmp_path / "p", clock, loop=False)
    assert again.read(out, 1.0).number == 1
    assert shown(out) == 0


def test_who_comes_late_misses_frames_as_with_a_device(tmp_path, clock):
    camera, out = opened(folder(tmp_path / "p", 10), clock), blank()
    camera.read(out, 1.0)
    clock.sleep(0.1)
    assert camera.read(out, 1.0).number == 4
    assert shown(out) == 3


def test_it_waits_no_longer_than_it_may(tmp_path, clock):
    camera, out = opened(folder(tmp_path / "p", 2), clock, rate_hz=2.0), blank()
    assert camera.read(out, 0.1) is not None
    assert camera.read(out, 0.1) is None


def test_what_cannot_be_played_is_refused_by_name(tmp_path, clock):
    (tmp_path / "empty").mkdir()
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 40)
    for name, said in (("none.mp4", "No such file"), ("empty", "no pictures"), ("noise.mp4", "cannot be played")):
        with pytest.raises(CameraError, match=said):
            opened(tmp_path / name, clock)
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        file.mux(stream.encode(frame))
    with pytest.raises(CameraError, match="no video in it"):
        opened(sound, clock)
    with pytest.raises(CameraError, match="call open"):
        FileCamera("cam_low", Camera(kind="file", path="x")).read(blank(), 0.1)


def test_rate_and_size_are_those_that_are_asked_for(tmp_path, clock):
    path = video(tmp_path / "a.mp4", 3, rate=25)
    with pytest.raises(CameraError, match="video of 25 Hz, configured are 30 Hz"):
        opened(path, clock)
    camera = opened(path, clock, rate_hz=25.0, height=64)
    with pytest.raises(CameraError, match=f"shows {WIDTH}x{HEIGHT}, configured are 64x64"):
        camera.read(np.zeros((64, 64, 3), np.uint8), 1.0)


def test_a_picture_that_is_broken_is_named(tmp_path, clock):
    camera = opened(folder(tmp_path / "p", 2), clock)
    path = tmp_path / "p" / "0000.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(CameraError, match="cannot be read on"):
        camera.read(blank(), 1.0)
