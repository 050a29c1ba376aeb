"""The letterbox against openpi's own function."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpi_client.image_tools import resize_with_pad

from controller.cameras.letterbox import letterbox_chw


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = (np.sin(x / 37) + np.cos(y / 23), np.sin(x / 11 + y / 29), np.cos(x / 53 - y / 7))
    return np.stack([(100 + 60 * np.clip(wave, -1.5, 1.5)).astype(np.uint8) for wave in waves], axis=-1)


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def check(picture, rows, columns):
    tile = np.full((3, rows, columns), 77, np.uint8)
    letterbox_chw(picture, tile)
    np.testing.assert_array_equal(tile, resize_with_pad(picture, rows, columns).transpose(2, 0, 1))


@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (640, 480), (480, 848), (240, 424), (720, 1280), (360, 640), (224, 224), (240, 320), (100, 37)],
)
def test_it_equals_openpi_bit_for_bit(make, height, width):
    check(make(height, width), 224, 224)


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(8, 64), st.integers(8, 64))
def test_it_equals_openpi_for_any_sizes(height, width, rows, columns):
    if min(int(height / max(width / columns, height / rows)), int(width / max(width / columns, height / rows))):
        check(noise(height, width), rows, columns)


def test_it_takes_a_view_of_a_larger_buffer():
    ring = noise(960, 1280)
    view = ring[::2, ::2]
    tile = np.zeros((2, 3, 224, 224), np.uint8)
    letterbox_chw(view, tile[1])
    np.testing.assert_array_equal(tile[1], resize_with_pad(view.copy(), 224, 224).transpose(2, 0, 1))
    assert not tile[0].any()


@pytest.mark.parametrize(
    ("picture", "tile"),
    [
        (np.zeros((3, 480, 640), np.uint8), np.zeros((3, 224, 224), np.uint8)),
        (np.zeros((480, 640, 3), np.float32), np.zeros((3, 224, 224), np.uint8)),
        (np.zeros((480, 640, 3), np.uint8), np.zeros((224, 224, 3), np.uint8)),
        (np.zeros((480, 640, 3), np.uint8), np.zeros((3, 224, 224), np.float32)),
    ],
)
def test_it_refuses_other_layouts(picture, tile):
    with pytest.raises(ValueError, match="must be"):
        letterbox_chw(picture, tile)
