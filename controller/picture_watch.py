"""What a camera's own pictures say about it: frozen, dark, or stamped backwards in time. Pure.

The camera process asks it about each frame. Whether a picture that stays the same is a fault depends on whether the
arms moved meanwhile; `inputs` brings both together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

STRIDE = 4
"""Brightness is the mean of every fourth pixel of every fourth row."""


class PictureWatch:
    """Counts over the frames of one camera, since the last one that broke the row.

    same_frames: frames whose tile was that of the first of them to the bit, the first included. t_same_ns: when that
    one arrived. dark_frames: frames darker than dark_level (mean of 0 to 255). backwards: frames not exposed after the
    one before them, ever; t_backwards_ns: when the newest of those arrived.
    """

    def __init__(self, part: tuple[slice, slice], dark_level: float) -> None:
        """part: where the picture lies in its tile."""
        self._part = tuple(slice(axis.start, axis.stop, STRIDE) for axis in part)
        self._dark_level = dark_level
        self._tile: Image | None = None
        self._t_exposure_ns: int | None = None
        self.same_frames = 0
        self.t_same_ns = 0
        self.dark_frames = 0
        self.brightness = 0.0
        self.backwards = 0
        self.t_backwards_ns = 0

    def in_order(self, t_exposure_ns: int, t_arrival_ns: int) -> bool:
        """Whether a frame was exposed after the one before it. One that was not must not be shown to a policy."""
        before_ns, self._t_exposure_ns = self._t_exposure_ns, t_exposure_ns
        if before_ns is None or t_exposure_ns > before_ns:
            return True
        self.backwards += 1
        self.t_backwards_ns = t_arrival_ns
        return False

    def look(self, tile: Image, t_arrival_ns: int) -> None:
        """Take note of a frame's letterboxed picture, (3, rows, columns)."""
        if self._tile is not None and np.array_equal(tile, self._tile):
            self.same_frames += 1
        else:
            self._tile = tile.copy()
            self.same_frames, self.t_same_ns = 1, t_arrival_ns
        self.brightness = float(tile[:, *self._part].mean())
        self.dark_frames = self.dark_frames + 1 if self.brightness < self._dark_level else 0
