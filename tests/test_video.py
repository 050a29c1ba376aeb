import sys

import numpy as np
import pytest

from controller.video import Mosaic, VideoUnavailable, VideoWriter

av = pytest.importorskip("av")

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def plain(colour: tuple[int, int, int], height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def frames_of(path):
    with av.open(str(path)) as file:
        duration_s = file.duration / av.time_base
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    return duration_s, frames


def test_four_cameras_are_two_by_two_each_in_its_place():
    mosaic = Mosaic(CAMERAS)
    for camera, colour in zip(CAMERAS, (RED, GREEN, BLUE, WHITE), strict=True):
        mosaic.place(camera, plain(colour))
    picture = mosaic.picture()
    assert picture.shape == (480, 640, 3)
    middles = [tuple(picture[y, x]) for y, x in ((120, 160), (120, 480), (360, 160), (360, 480))]
    assert middles == [RED, GREEN, BLUE, WHITE]


def test_each_camera_is_labelled_and_a_note_makes_the_label_longer():
    mosaic = Mosaic(("cam_high",))
    mosaic.place("cam_high", plain(RED))
    label = (mosaic.picture() != RED).any(axis=2)
    mosaic.place("cam_high", plain(RED), "3.0 s old")
    noted = (mosaic.picture() != RED).any(axis=2)
    assert 0 < label.sum() < noted.sum() < 0.1 * label.size


def test_a_frame_of_another_shape_keeps_its_aspect_ratio():
    mosaic = Mosaic(("cam_high",))
    mosaic.place("cam_high", plain(GREEN, 300, 300))
    picture = mosaic.picture()
    assert tuple(picture[120, 160]) == GREEN
    assert tuple(picture[120, 5]) == tuple(picture[120, 314]) == (0, 0, 0)


def test_a_camera_without_a_frame_is_black_but_named():
    mosaic = Mosaic(CAMERAS)
    mosaic.place("cam_low", plain(RED))
    mosaic.place("cam_low", None, "no frame yet")
    tile = mosaic.picture()[:240, 320:]
    assert tuple(tile[200, 160]) == (0, 0, 0)
    assert tile.max() == 255


def test_a_video_shows_every_picture_at_its_own_time(tmp_path):
    mosaic, times_s = Mosaic(CAMERAS), [0.0, 0.1, 0.25, 0.3, 1.0, 1.1, 2.0]
    video = VideoWriter(tmp_path / "v.mp4", mosaic.size, 10.0)
    for i, t_s in enumerate(times_s):
        mosaic.place("cam_high", plain(RED if i % 2 else BLUE))
        video.write(t_s, mosaic.picture())
    video.close()
    duration_s, frames = frames_of(tmp_path / "v.mp4")
    assert video.frames == len(frames) == len(times_s)
    assert [t_s for t_s, _ in frames] == pytest.approx(times_s, abs=1e-3)
    assert 2.0 <= duration_s <= 2.3
    for i, (_, picture) in enumerate(frames):
        assert picture.shape == (480, 640, 3)
        assert int(np.argmax(picture[120, 160])) == (0 if i % 2 else 2)


def test_two_pictures_of_the_same_instant_are_both_kept_in_order(tmp_path):
    video = VideoWriter(tmp_path / "v.mp4", (64, 64), 10.0)
    for _ in range(3):
        video.write(0.5, plain(RED, 64, 64))
    video.close()
    _, frames = frames_of(tmp_path / "v.mp4")
    times = [t_s for t_s, _ in frames]
    assert times == sorted(set(times))
    assert len(times) == 3


def test_a_video_whose_writer_was_killed_still_plays(tmp_path):
    path = tmp_path / "v.mp4"
    video = VideoWriter(path, (64, 64), 10.0)
    for i in range(100):
        video.write(i * 0.1, plain(RED, 64, 64))
    killed = path.read_bytes()
    video.close()
    (tmp_path / "killed.mp4").write_bytes(killed)
    _, frames = frames_of(tmp_path / "killed.mp4")
    assert 50 <= len(frames) < 100


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(VideoUnavailable, match=r"missing/v\.mp4"):
        VideoWriter(tmp_path / "missing" / "v.mp4", (64, 64), 10.0)


def test_without_pyav_the_reason_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoUnavailable, match="install the 'sim' extra"):
        VideoWriter(tmp_path / "v.mp4", (64, 64), 10.0)
    assert not (tmp_path / "v.mp4").exists()
