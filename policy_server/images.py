"""One camera's picture of a request, as the model sees it: checked, decoded if it is a JPEG file, letterboxed.

Runs in the policy server. Always holds: whatever a client sent, the tile is either the reference's, bit for bit, or
ObservationError says what was wrong with the picture; no pixel is decoded before the size is known to be allowed.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from policy_server.letterbox import Pixels, letterbox, letterbox_image
from policy_server.policy import ObservationError

MAX_SIDE_PX = 4096


def read_picture(value: object, name: str, out: Pixels) -> None:
    """Write the picture into `out`, uint8 (rows, columns, 3), overwriting all of it. `name` is for errors.

    value: (3, height, width) uint8, or float in [0, 1]; or the bytes of a JPEG file. Raises ObservationError.
    """
    try:
        if isinstance(value, bytes):
            letterbox_image(_decode_jpeg(value, name), out)
        else:
            letterbox(_as_planes(value, name), out)
    except ObservationError:
        raise
    except ValueError as error:
        raise ObservationError(f"{name}: {error}; send the camera's whole picture") from error


def _as_planes(value: object, name: str) -> Pixels:
    if not isinstance(value, np.ndarray):
        raise ObservationError(
            f"{name} is of type {type(value).__name__}; send an array (3, height, width) or the bytes of a JPEG file"
        )
    if value.ndim != 3 or value.shape[0] != 3:
        raise ObservationError(f"{name} has shape {value.shape}, {_wanted_shape(value)}")
    _, height, width = value.shape
    _check_size(height, width, name)
    if value.dtype == np.uint8:
        return value
    if value.dtype.kind != "f":
        raise ObservationError(f"{name} has dtype {value.dtype}; send uint8, or float from 0 to 1")
    return _from_float(value, name)


def _from_float(values: NDArray[np.floating], name: str) -> Pixels:
    """Grey levels of values in [0, 1]: cut off, not rounded, in the type they came in, as the reference does."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # false for NaN, too
        raise ObservationError(f"{name} holds floats from {low:g} to {high:g}; send floats from 0 to 1, or uint8")
    return (255 * values).astype(np.uint8)


def _wanted_shape(value: NDArray[np.generic]) -> str:
    if value.ndim == 3 and value.shape[2] == 3:
        return (
            "which is height x width x channels; send channels first, "
            f"(3, {value.shape[0]}, {value.shape[1]}): np.transpose(image, (2, 0, 1))"
        )
    return "send (3, height, width)"


def _check_size(height: int, width: int, name: str) -> None:
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise ObservationError(f"{name} is {height} px high and {width} px wide; send 1 to {MAX_SIDE_PX} px each way")


def _decode_jpeg(data: bytes, name: str) -> Image.Image:
    try:
        # Not Image.open: it would try other formats, too, and warn of a large picture only.
        picture = JpegImageFile(io.BytesIO(data))
        _check_size(picture.height, picture.width, name)
        picture.load()
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    except ObservationError:
        raise
    except Exception as error:  # Pillow raises errors of many kinds on a damaged file
        raise ObservationError(
            f"{name} is {len(data)} bytes that are no readable JPEG file ({error}); send a whole JPEG file or an array"
        ) from error
