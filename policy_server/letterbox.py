"""The letterbox that π0 was trained with: fit inside, never stretch, black bars.

Runs in the policy server for pictures that are not yet of the model's size. Bit for bit what openpi's `resize_with_pad`
makes of the same picture: Pillow's antialiased bilinear filter, sizes truncated, bars split with the odd line at the
bottom or right. (The controller has its own: it runs on another machine, and writes another layout.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def letterbox(planes: Pixels, out: Pixels) -> None:
    """Fit `planes`, uint8 (channels, height, width), into `out`, uint8 (rows, columns, channels), and fill all of it.

    Raises ValueError for a picture so narrow that nothing of it would be left.
    """
    _, height, width = planes.shape
    rows, columns, _ = out.shape
    if (height, width) == (rows, columns):
        for channel, plane in enumerate(planes):  # a third of the time that one transposed copy takes
            out[:, :, channel] = plane
        return
    fit_rows, fit_columns, inside = _place(height, width, rows, columns)
    out[:] = 0
    for channel, plane in enumerate(planes):  # plane by plane: Pillow reads them in place
        fitted = Image.fromarray(plane).resize((fit_columns, fit_rows), resample=Image.Resampling.BILINEAR)
        out[(*inside, channel)] = np.asarray(fitted)


def letterbox_image(picture: Image.Image, out: Pixels) -> None:
    """The same for a decoded RGB picture. Raises ValueError as `letterbox` does."""
    rows, columns, _ = out.shape
    fit_rows, fit_columns, inside = _place(picture.height, picture.width, rows, columns)
    if picture.size != (fit_columns, fit_rows):
        picture = picture.resize((fit_columns, fit_rows), resample=Image.Resampling.BILINEAR)
    out[:] = 0
    out[inside] = np.asarray(picture)


def _place(height: int, width: int, rows: int, columns: int) -> tuple[int, int, tuple[slice, slice]]:
    """The fitted picture's height and width, and the part of the frame that it fills."""
    ratio = max(width / columns, height / rows)
    fit_rows, fit_columns = int(height / ratio), int(width / ratio)
    if not (fit_rows and fit_columns):
        raise ValueError(f"a picture of {height} by {width} px leaves nothing when fitted into {rows} by {columns}")
    top, left = int((rows - fit_rows) / 2), int((columns - fit_columns) / 2)
    return fit_rows, fit_columns, (slice(top, top + fit_rows), slice(left, left + fit_columns))
