"""The policy server's letterbox and its reading of one picture, against openpi's own function."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpi_client.image_tools import resize_with_pad
from PIL import Image

from policy_server.images import MAX_SIDE_PX, read_picture
from policy_server.letterbox import letterbox, letterbox_image
from policy_server.policy import ObservationError

GOLDEN = np.load(Path(__file__).parent / "goldens" / "pi0" / "transforms" / "letterbox.npz")


def noise(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = (np.sin(x / 37) + np.cos(y / 23), np.sin(x / 11 + y / 29), np.cos(x / 53 - y / 7))
    return np.stack([(100 + 60 * np.clip(wave, -1.5, 1.5)).astype(np.uint8) for wave in waves], axis=-1)


def planes(picture):
    return np.ascontiguousarray(picture.transpose(2, 0, 1))


def jpeg(picture, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def read(value, rows=224, columns=224):
    tile = np.full((rows, columns, 3), 77, np.uint8)
    read_picture(value, "image 'cam_high'", tile)
    return tile


def test_it_equals_the_reference_output():
    picture = GOLDEN["up_100x150/in"]
    np.testing.assert_array_equal(read(planes(picture)), GOLDEN["up_100x150/client_pil_u8"])


@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (640, 480), (480, 848), (720, 1280), (224, 224), (224, 300), (301, 401), (99, 37)]
)
def test_it_equals_openpi_bit_for_bit(make, height, width):
    picture = make(height, width)
    wanted = resize_with_pad(picture, 224, 224)
    np.testing.assert_array_equal(read(planes(picture)), wanted)
    np.testing.assert_array_equal(read(picture.transpose(2, 0, 1)), wanted)  # not contiguous
    tile = np.full((224, 224, 3), 77, np.uint8)
    letterbox_image(Image.fromarray(picture), tile)
    np.testing.assert_array_equal(tile, wanted)


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64), st.integers(1, 64))
def test_it_equals_openpi_for_any_sizes_that_leave_something(height, width, rows, columns):
    picture = noise(height, width)
    ratio = max(width / columns, height / rows)
    for fit, source in ((letterbox, planes(picture)), (letterbox_image, Image.fromarray(picture))):
        tile = np.full((rows, columns, 3), 77, np.uint8)
        if int(height / ratio) and int(width / ratio):
            fit(source, tile)
            np.testing.assert_array_equal(tile, resize_with_pad(picture, rows, columns))
        else:
            with pytest.raises(ValueError, match="leaves nothing when fitted"):
                fit(source, tile)


def test_floats_become_the_reference_grey_levels():
    picture = GOLDEN["convert_to_uint8/in"]
    wanted = resize_with_pad(GOLDEN["convert_to_uint8/out"], 224, 224)
    np.testing.assert_array_equal(read(planes(picture)), wanted)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_floats_of_any_size_are_cut_off_not_rounded(dtype):
    levels = np.linspace(0, 1, 224 * 224).reshape(224, 224)
    values = np.stack([levels, levels.T, 1 - levels]).astype(dtype)
    np.testing.assert_array_equal(read(values), (255 * values).astype(np.uint8).transpose(1, 2, 0))
    assert read(values).max() == 255


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"quality": 60, "progressive": True}, {"subsampling": 0, "dpi": (72, 72)}])
def test_a_jpeg_is_what_pillow_makes_of_it(mode, options):
    for picture in (smooth(480, 640), smooth(224, 224)):
        file = jpeg(picture, mode, **options)
        decoded = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        np.testing.assert_array_equal(read(file), resize_with_pad(decoded, 224, 224))


def with_size(file, height, width):
    """The JPEG with another size in its header, and the same few pixels."""
    start = file.index(b"\xff\xc0") + 5
    return file[:start] + struct.pack(">HH", height, width) + file[start + 4 :]


SMALL = jpeg(smooth(40, 50))
PNG = io.BytesIO()
Image.fromarray(smooth(40, 50)).save(PNG, "PNG")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (smooth(48, 64), r"shape \(48, 64, 3\), which is height x width x channels; .*\(3, 48, 64\): np.transpose"),
        (noise(3, 3)[0], r"has shape \(3, 3\), send \(3, height, width\)"),
        (np.zeros((1, 3, 20, 20), np.uint8), r"has shape \(1, 3, 20, 20\), send"),
        (np.zeros((1, 20, 20), np.uint8), r"has shape \(1, 20, 20\), send"),
        (np.zeros((3, 0, 20), np.uint8), "is 0 px high and 20 px wide; send 1 to 4096 px"),
        (np.zeros((3, 20, 4097), np.uint8), "is 20 px high and 4097 px wide"),
        (np.zeros((3, 1, 4096), np.uint8), "1 by 4096 px leaves nothing when fitted into 224 by 224; send"),
        (np.zeros((3, 20, 20), np.int64), "has dtype int64; send uint8, or float from 0 to 1"),
        (np.zeros((3, 20, 20), np.bool_), "has dtype bool"),
        (np.zeros((3, 20, 20), "U1"), "has dtype <U1"),
        (np.full((3, 20, 20), 1.01), "floats from 1.01 to 1.01; send floats from 0 to 1"),
        (np.full((3, 20, 20), -0.01), "floats from -0.01"),
        (np.full((3, 20, 20), np.nan), "floats from nan"),
        (np.full((3, 20, 20), 255.0, np.float32), "floats from 255 to 255"),
        (np.full((3, 20, 20), np.inf), "floats from inf"),
        ([[[0]]], "is of type list; send an array"),
        (None, "is of type NoneType"),
        ("x", "is of type str"),
        (np.float32(1), "is of type float32"),
        (b"", "is 0 bytes that are no readable JPEG file"),
        (b"\xff\xd8\xff", "is 3 bytes that are no readable JPEG"),
        (SMALL[: len(SMALL) // 2], "no readable JPEG file .*Truncated"),
        (SMALL[:-100], "no readable JPEG file .*truncated"),
        (PNG.getvalue(), "no readable JPEG file"),
        (with_size(SMALL, 65535, 65535), "is 65535 px high and 65535 px wide"),
        (with_size(SMALL, 40, 4097), "is 40 px high and 4097 px wide"),
        (with_size(SMALL, 0, 40), r"0 px high|no readable JPEG"),
    ],
)
def test_what_is_no_picture_is_refused(value, says):
    with pytest.raises(ObservationError, match=rf"^image 'cam_high'.*{says}"):
        read(value)


def test_one_pixel_beyond_the_range_among_thousands_is_seen():
    picture = np.zeros((3, 100, 100), np.float32)
    for value in (np.nan, np.inf, -1e-6, 1.001):
        picture[2, 99, 99] = value
        with pytest.raises(ObservationError, match="send floats from 0 to 1"):
            read(picture)


def test_the_largest_picture_is_read():
    assert read(np.full((3, MAX_SIDE_PX, 100), 9, np.uint8)).max() == 9
    assert read(with_size(SMALL, 40, 50)).shape == (224, 224, 3)


def test_the_size_is_checked_before_a_pixel_is_decoded(monkeypatch):
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ObservationError, match="px wide"):
        read(with_size(SMALL, 5000, 5000))


def read_or_refuse(value):
    """The tile, or the text of the refusal."""
    try:
        return read(value)
    except ObservationError as error:
        return str(error)


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_jpeg_gives_a_picture_or_an_error(data):
    file = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
        result = read_or_refuse(bytes(file))
    assert "cam_high" in result if isinstance(result, str) else result.shape == (224, 224, 3)
