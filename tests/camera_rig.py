"""What the tests of the cameras share: a clock that a test moves, and a picture whose colours nobody can mix up."""

from __future__ import annotations

import numpy as np

RGB_STRIPES = ((230, 20, 20), (20, 230, 20), (20, 20, 230))


class Clock:
    """Time that passes only in sleep, and by hand."""

    def __init__(self):
        self.now_ns = 1_000_000_000

    def __call__(self):
        return self.now_ns

    def sleep(self, seconds):
        self.now_ns += round(seconds * 1e9)


def stripes(height=48, width=64):
    """Red, green and blue, from left to right."""
    picture = np.zeros((height, width, 3), np.uint8)
    for index, colour in enumerate(RGB_STRIPES):
        picture[:, index * width // 3 : (index + 1) * width // 3] = colour
    return picture


def is_rgb(picture, tolerance):
    """Whether the middle of each stripe has its colour."""
    width = picture.shape[1]
    middles = picture[picture.shape[0] // 2, [width // 6, width // 2, 5 * width // 6]].astype(int)
    return bool((np.abs(middles - RGB_STRIPES) <= tolerance).all())
