"""What a camera's pictures say about it."""

import numpy as np
import pytest

from controller.cameras.letterbox import letterbox_chw, picture_part
from controller.picture_watch import PictureWatch

PART = picture_part(480, 640, 224, 224)


def tile(level, height=480, width=640):
    out = np.full((3, 224, 224), 99, np.uint8)
    letterbox_chw(np.full((height, width, 3), level, np.uint8), out)
    return out


def test_pictures_that_change_are_never_the_same():
    watch = PictureWatch(PART, 8.0)
    for number in range(50):
        watch.look(tile(50 + number), 1000 + number)
        assert (watch.same_frames, watch.t_same_ns) == (1, 1000 + number)


def test_one_picture_is_counted_from_its_first_frame_until_one_pixel_changes():
    watch, picture = PictureWatch(PART, 8.0), tile(100)
    watch.look(tile(90), 1)
    for number in range(20):
        watch.look(picture, 1000 + number)
        assert (watch.same_frames, watch.t_same_ns) == (number + 1, 1000)
    picture[2, 100, 100] += 1  # the very array that the watch was shown before
    watch.look(picture, 2000)
    assert (watch.same_frames, watch.t_same_ns) == (1, 2000)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (240, 240)])
def test_brightness_is_that_of_the_picture_without_its_bars(height, width):
    watch = PictureWatch(picture_part(height, width, 224, 224), 8.0)
    watch.look(tile(200, height, width), 1)
    assert watch.brightness == 200.0


def test_dark_frames_in_a_row_are_counted():
    watch = PictureWatch(PART, 8.0)
    counts = []
    for level in (7, 7, 8, 0, 0, 0, 200):
        watch.look(tile(level), 1)
        counts.append(watch.dark_frames)
    assert counts == [1, 2, 0, 1, 2, 3, 0]


def test_nothing_is_dark_when_that_is_switched_off():
    watch = PictureWatch(PART, 0.0)
    watch.look(tile(0), 1)
    assert watch.dark_frames == 0


def test_a_frame_not_exposed_after_the_one_before_it_is_out_of_order():
    watch = PictureWatch(PART, 8.0)
    exposures = [100, 200, 200, 150, 160, 900]
    assert [watch.in_order(t, 10 * t) for t in exposures] == [True, True, False, False, True, True]
    assert (watch.backwards, watch.t_backwards_ns) == (2, 1500)
