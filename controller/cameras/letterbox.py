"""The letterbox the model was trained with: fit inside, never stretch, black bars.

Run by each camera process on arrival of a frame, on the way from frame to motion. What openpi's `resize_with_pad`
makes of the same picture: Pillow's antialiased bilinear filter, sizes truncated, bars split with the odd line at the
bottom or right. A library with the same filter in SIMD is five times as fast as Pillow and rounds a value in six to the
next level; where it is not installed Pillow does it, bit for bit as openpi.
"""

from __future__ import annotations

from collections.abc import Callable

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
    fitted = fit(rgb_hwc, across.stop - across.start, down.stop - down.start)
    out_chw[:, : down.start] = 0
    out_chw[:, down.stop :] = 0
    out_chw[:, :, : across.start] = 0
    out_chw[:, :, across.stop :] = 0
    out_chw[:, down, across] = fitted.transpose(2, 0, 1)


def fit_exactly(rgb_hwc: Pixels, width: int, height: int) -> Pixels:
    """The picture in another size, as openpi scales it."""
    return np.asarray(Image.fromarray(rgb_hwc).resize((width, height), resample=Image.Resampling.BILINEAR))


def _quick_fit() -> Callable[[Pixels, int, int], Pixels] | None:
    """The same within one level, if its library is installed."""
    try:
        import cykooz_resizer as simd  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return None
    resizer = simd.Resizer()
    filtered = simd.ResizeOptions(resize_alg=simd.ResizeAlg.convolution(simd.FilterType.bilinear))

    def fit_quickly(rgb_hwc: Pixels, width: int, height: int) -> Pixels:
        source = simd.ImageData(rgb_hwc.shape[1], rgb_hwc.shape[0], simd.PixelType.U8x3, rgb_hwc.tobytes())
        target = simd.ImageData(width, height, simd.PixelType.U8x3)
        resizer.resize(source, target, filtered)
        return np.frombuffer(target.get_buffer(), np.uint8).reshape(height, width, 3)

    return fit_quickly


fit_quickly = _quick_fit()
fit = fit_quickly or fit_exactly
