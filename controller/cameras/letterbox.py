"""The letterbox the model was trained with: fit inside, never stretch, black bars.

Run by each camera process on arrival of a frame. Bit for bit what openpi's `resize_with_pad` makes of the same
picture: Pillow's antialiased bilinear filter, sizes truncated, bars split with the odd line at the bottom or right.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from controller.cameras.base import Image as Pixels


def letterbox_chw(rgb_hwc: Pixels, out_chw: Pixels) -> None:
    """Fit `rgb_hwc` ((height, width, 3) uint8) into `out_chw` ((3, rows, columns) uint8), overwriting all of it.

    Raises ValueError on other shapes or types.
    """
    if rgb_hwc.ndim != 3 or rgb_hwc.shape[2] != 3 or rgb_hwc.dtype != np.uint8:
        raise ValueError(f"picture must be (height, width, 3) uint8, got {rgb_hwc.shape} {rgb_hwc.dtype}")
    if out_chw.ndim != 3 or out_chw.shape[0] != 3 or out_chw.dtype != np.uint8:
        raise ValueError(f"tile must be (3, rows, columns) uint8, got {out_chw.shape} {out_chw.dtype}")
    height, width = rgb_hwc.shape[:2]
    rows, columns = out_chw.shape[1:]
    ratio = max(width / columns, height / rows)
    fit_rows, fit_columns = int(height / ratio), int(width / ratio)
    top, left = int((rows - fit_rows) / 2), int((columns - fit_columns) / 2)
    fitted = Image.fromarray(rgb_hwc).resize((fit_columns, fit_rows), resample=Image.Resampling.BILINEAR)
    out_chw[:, :top] = 0
    out_chw[:, top + fit_rows :] = 0
    out_chw[:, :, :left] = 0
    out_chw[:, :, left + fit_columns :] = 0
    out_chw[:, top : top + fit_rows, left : left + fit_columns] = np.asarray(fitted).transpose(2, 0, 1)
