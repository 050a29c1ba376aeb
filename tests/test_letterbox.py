"""The letterbox against openpi's own function: exact with Pillow, within one level with the SIMD library."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpi_client.image_tools import resize_with_pad
from PIL import Image, ImageDraw

from controller.cameras import letterbox
from controller.cameras.letterbox import fit_exactly, fit_quickly, letterbox_chw


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = (np.sin(x / 37) + np.cos(y / 23), np.sin(x / 11 + y / 29), np.cos(x / 53 - y / 7))
    return np.stack([(100 + 60 * np.clip(wave, -1.5, 1.5)).astype(np.uint8) for wave in waves], axis=-1)


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def desk(seed, height=480, width=640):
    """A picture as a robot sees it: a shaded table, things with hard edges and round ones, writing, a noisy sensor."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    shade = 90 + 60 * x / width + 50 * y / height
    table = np.stack([shade * tint for tint in rng.uniform(0.6, 1.1, 3)], axis=-1)
    picture = Image.fromarray(table.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(25):
        left, top, wide, high = rng.integers(0, [width, height, 160, 120])
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, left + wide, top + high), fill=colour, outline=(0, 0, 0))
        draw.text((left, top), "lighter into the cup", fill=(255, 255, 255))
    return (np.asarray(picture) + rng.normal(0, 3, (height, width, 3))).clip(0, 255).astype(np.uint8)


LEVELS = {fit_exactly: 0} | ({fit_quickly: 1} if fit_quickly else {})
"""How many levels a value may be off, with each way of fitting that this machine has."""


@pytest.fixture(params=LEVELS, ids=["exactly", "quickly"][: len(LEVELS)])
def farthest(request, monkeypatch):
    monkeypatch.setattr(letterbox, "fit", request.param)
    return LEVELS[request.param]


def off_by(picture, rows=224, columns=224):
    """Levels by which the worst value is off."""
    tile = np.full((3, rows, columns), 77, np.uint8)
    letterbox_chw(picture, tile)
    return np.abs(tile.astype(int) - resize_with_pad(picture, rows, columns).transpose(2, 0, 1)).max()


@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (640, 480), (480, 848), (240, 424), (720, 1280), (360, 640), (224, 224), (240, 320), (100, 37)],
)
def test_it_equals_openpi(make, height, width, farthest):
    assert off_by(make(height, width)) <= farthest


def test_a_hundred_random_pictures_and_ten_of_a_desk():
    rng = np.random.default_rng(7)
    for index in range(110):
        dark, bright = sorted(rng.integers(0, 128, 2))
        random = rng.integers(dark, 129 + bright, (480, 640, 3), dtype=np.uint8)
        picture = random if index < 100 else desk(index)
        wanted = resize_with_pad(picture, 168, 224).astype(int)  # fills the tile: no bars
        for fit, levels in LEVELS.items():
            assert np.abs(fit(picture, 224, 168) - wanted).max() <= levels


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(8, 64), st.integers(8, 64))
def test_it_equals_openpi_for_any_sizes(height, width, rows, columns):
    if min(int(height / max(width / columns, height / rows)), int(width / max(width / columns, height / rows))):
        assert off_by(noise(height, width), rows, columns) <= 1


def test_the_quick_way_is_taken_where_there_is_one():
    assert fit_quickly is not None or platform.machine() != "x86_64", "cykooz-resizer is missing: scripts/setup"
    assert letterbox.fit is (fit_quickly or fit_exactly)


def test_it_takes_a_view_of_a_larger_buffer(farthest):
    ring = noise(960, 1280)
    view = ring[::2, ::2]
    tile = np.zeros((2, 3, 224, 224), np.uint8)
    letterbox_chw(view, tile[1])
    wanted = resize_with_pad(view.copy(), 224, 224).transpose(2, 0, 1)
    assert np.abs(tile[1].astype(int) - wanted).max() <= farthest
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
