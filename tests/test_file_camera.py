"""The camera that plays a file: real files, a fake clock."""

import os

import av
import numpy as np
import pytest
from camera_rig import Clock, is_rgb, stripes
from PIL import Image

from controller import camera as process
from controller.board import OwnedBoard, frame_ring, status_ring
from controller.camera import complete
from controller.cameras.base import CameraError
from controller.cameras.file import FileCamera
from controller.child import Child, Spawned
from controller.config import load, shipped
from controller.config_camera import Camera
from controller.faults import FaultCode
from controller.layout import text
from controller.observer import Observer

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


FOUR = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
DECODE_NS = 4_000_000


def playing(path, loop=True):
    """The shipped configuration with four cameras that play this file."""
    config = load(shipped("sim"))
    camera = Camera(kind="file", path=str(path), width=WIDTH, height=HEIGHT, loop=loop)
    return config.model_copy(update={"cameras": dict.fromkeys(FOUR, camera)})


@pytest.fixture
def board():
    made = []

    def make(config):
        made.append(OwnedBoard(config))
        return made[-1]

    yield make
    for owned in made:
        owned.close()


def test_at_the_policy_links_side_no_frame_of_four_cameras_is_lost(tmp_path, clock, board):
    """Ten seconds of a film, each frame used as soon as all four have it."""
    config = playing(video(tmp_path / "film.mp4", 6, make=grey))
    owned = board(config)
    cameras = {name: opened(config.cameras[name].path, clock) for name in FOUR}
    writers = {name: owned.rings[frame_ring(name)].writer() for name in FOUR}
    readers = {name: owned.rings[frame_ring(name)].reader() for name in FOUR}
    joints = owned.rings["joints"].blank()
    owned.rings["joints"].writer().write(joints)
    observer = Observer(owned.board, FOUR, with_environment=False)
    ages_ms, record = set(), owned.rings[frame_ring("cam_low")].blank()
    for number in range(1, 301):
        for name, camera in cameras.items():
            with writers[name].slot() as slot:
                complete(slot, camera.read(slot["pixels"], 1.0), 30.0)
        clock.now_ns += DECODE_NS
        assert observer.waiting_for() == []
        observation = observer.observe("x")
        for name in FOUR:
            assert readers[name].next(record)
            assert (int(record["number"]), shown(record["pixels"])) == (number, (number - 1) % 6)
            assert shown(observation.request["images"][name][:, 112]) == (number - 1) % 6
        assert observation.spread_s == 0.0
        ages_ms.add((clock.now_ns - observation.t_exposure_oldest_ns) * 1e-6)
    assert ages_ms == {DECODE_NS * 1e-6}


def test_a_camera_whose_file_ends_is_named_as_lost_and_plays_on_when_started_again(tmp_path, clock, board, monkeypatch):
    config = playing(folder(tmp_path / "p", 3), loop=False)
    owned = board(config)
    ring, status = owned.rings[frame_ring("cam_low")], owned.rings[status_ring("camera cam_low")]
    monkeypatch.setattr(process, "make", lambda name, config, _: FileCamera(name, config, clock, clock.sleep))
    for start in (1, 2):
        child = Child(Spawned("camera cam_low", "controller.camera", config, owned.board, os.getppid()))
        with pytest.raises(CameraError, match="has ended after 3 frames"):
            process.run(child)
        record = status.blank()
        status.reader().newest(record)
        assert int(record["fault"]) == FaultCode.CAMERA_LOST
        assert "cam_low" in text(record["fault_text"])
        assert "has ended after 3 frames" in text(record["fault_text"])
        assert (ring.count, int(record["frames"]), int(record["skipped"])) == (3 * start, 3, 0)
