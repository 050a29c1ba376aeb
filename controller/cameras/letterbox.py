"""The letterbox the model was trained with: fit inside, never stretch, black bars.

Run by each camera process on arrival of a frame. Bit for bit what openpi's `resize_with_pad` makes of the same
picture: Pillow's antialiased bilinear filter, sizes truncated, bars split with the odd line at the bottom or right.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from controller.cameras.base import Image as Pixels


def picture_part(height: int, width: int, rows: int, columns: int) -> tuple[slice, slice]:
    """Where a picture of height x width lies in a tile of rows x columns: all of it but the bars."""
    ratio = max(width / columns, height / rows)
    fit_rows, fit_columns = int(height / ratio), int(width / ratio)
    top, left = int((rows - fit_rows) / 2), int((columns - fit_columns) / 2)
    return slice(top, top + fit_rows), slice(left, left + fit_columns)


def letterbox_chw(rgb_hwc: Pixels, out_chw: Pixels) -> None:
    """Fit `rgb_hwc` ((height, width, 3) uint8) into `out_chw` ((3, rows, columns) uint8), overwriting all of it.

    Raises ValueError on other shapes or types.
    """
    if rgb_hwc.ndim != 3 or rgb_hwc.shape[2] != 3 or rgb_hwc.dtype != np.uint8:
        raise ValueError(f"picture must be (height, width, 3) uint8, got {rgb_hwc.shape} {rgb_hwc.dtype}")
    if out_chw.ndim != 3 or out_chw.shape[0] != 3 or out_chw.dtype != np.uint8:
        raise ValueError(f"tile must be (3, rows, columns) uint8, got {out_chw.shape} {out_chw.dtype}")
    height, width = rgb_hwc.shape[:2]
    down, across = picture_part(height, width, *out_chw.shape[1:])
    size = (across.stop - across.start, down.stop - down.start)
    fitted = Image.fromarray(rgb_hwc).resize(size, resample=Image.Resampling.BILINEAR)
    out_chw[:, : down.start] = 0
    out_chw[:, down.stop :] = 0
    out_chw[:, :, : across.start] = 0
    out_chw[:, :, across.stop :] = 0
    out_chw[:, down, across] = np.asarray(fitted).transpose(2, 0, 1)
