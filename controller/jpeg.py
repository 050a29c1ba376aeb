"""A finished tile as a JPEG file, for links that cannot carry raw pixels. Pure.

Colours keep their full resolution (4:4:4): halving it, as JPEG files of photographs do, smears the thin bright edges
of small objects.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encode_jpeg(tile: NDArray[np.uint8], quality: int) -> bytes:
    """tile: RGB (3, height, width). quality: 50..100."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(tile.transpose(1, 2, 0))).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
