"""Pictures for slow links: what is sent, how much of it is lost, and which servers it is sent to."""

import io

import numpy as np
import pytest
from PIL import Image
from synthetic import sim_config

from controller.faults import FaultCode
from controller.jpeg import encode_jpeg
from controller.server_terms import SessionError, check_server
from policy_server.images import read_picture
from policy_server.protocol import JPEG_IMAGES, REQUEST_ID, ServerInfo

HEIGHT, WIDTH = 224, 224


def tile() -> np.ndarray:
    """Soft light over a table and a thin red object on it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    made = np.stack([80 + rows // 3, 60 + columns // 3, 90 + (rows + columns) // 6]).astype(np.uint8)
    made[:, 100:104, 60:160] = np.array([220, 20, 30], np.uint8)[:, None, None]
    return made


def as_seen(file: bytes) -> np.ndarray:
    """The picture as our server gives it to the model, channels first."""
    out = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    read_picture(file, "cam", out)
    return out.transpose(2, 0, 1)


def test_a_tile_comes_back_as_it_was_but_for_a_little_noise():
    lost = np.abs(as_seen(encode_jpeg(tile(), 95)).astype(int) - tile())
    assert lost.mean() < 1.0
    assert lost.max() < 25


def test_colours_keep_their_full_resolution():
    file = encode_jpeg(tile(), 95)
    picture = Image.open(io.BytesIO(file))
    assert picture.size == (WIDTH, HEIGHT)
    assert {layer[1:3] for layer in picture.layer} == {(1, 1)}
    halved = io.BytesIO()
    Image.fromarray(tile().transpose(1, 2, 0)).save(halved, "JPEG", quality=95)
    on_the_object = np.s_[:, 100:104, 60:160]

    def lost(seen):
        return np.abs(seen.astype(int) - tile())[on_the_object].mean()

    assert lost(as_seen(file)) < lost(as_seen(halved.getvalue()))


def test_less_quality_is_fewer_bytes():
    noisy = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH), np.uint8)
    assert len(encode_jpeg(noisy, 50)) < len(encode_jpeg(noisy, 85)) < len(encode_jpeg(noisy, 100))
    assert len(encode_jpeg(tile(), 95)) < tile().nbytes / 8


def wanting(encoding):
    config = sim_config()
    return config.model_copy(update={"policy": config.policy.model_copy(update={"image_encoding": encoding})})


def offering(*extensions):
    return ServerInfo(cameras=("cam_high",), extensions=frozenset(extensions))


@pytest.mark.parametrize("info", [ServerInfo(), offering(REQUEST_ID)])
def test_a_server_that_takes_no_jpeg_is_refused_before_anything_is_sent(info):
    with pytest.raises(SessionError, match=r"image_encoding is 'jpeg'.*does not offer jpeg_images.*'raw'") as refusal:
        check_server(info, wanting("jpeg"))
    assert refusal.value.code is FaultCode.POLICY_REFUSED


def test_a_server_that_takes_jpeg_is_accepted_for_either_encoding():
    for encoding in ("raw", "jpeg"):
        assert check_server(offering(JPEG_IMAGES), wanting(encoding)) == (("cam_high",), 50.0)
    assert check_server(offering(), wanting("raw")) == (("cam_high",), 50.0)
