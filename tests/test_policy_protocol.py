"""The wire format: openpi's bytes both ways, and bytes from a peer who means harm."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from openpi_client import msgpack_numpy

from policy_server.protocol import DEFAULT_LIMITS, Limits, ProtocolError, ServerInfo, StateStatistics, pack, unpack

WIRE = Path(__file__).parent / "goldens" / "wire"
GOLDENS = sorted(path for path in WIRE.iterdir() if path.suffix in (".bin", ".msgpack"))


def array_map(data: object, dtype: object, shape: object) -> bytes:
    return msgpack.packb({b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape})


def scalar_map(data: object, dtype: object) -> bytes:
    return msgpack.packb({b"__npgeneric__": True, b"data": data, b"dtype": dtype})


# ---- openpi's bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.name)
def test_recorded_messages_decode_and_encode_to_the_same_bytes(path: Path) -> None:
    recorded = path.read_bytes()
    assert pack(unpack(recorded)) == recorded


def test_recorded_arrays_hold_the_recorded_values() -> None:
    decoded = {name: unpack((WIRE / f"{name}.bin").read_bytes()) for name in ("arrays", "nested", "response")}
    with np.load(WIRE / "arrays.npz") as expected:
        for key in expected.files:
            message, _, name = key.partition("/")
            found = decoded[message].get(name)
            if found is None:
                found = decoded[message]["images"][name]
            assert found.dtype == expected[key].dtype
            np.testing.assert_array_equal(found, expected[key], strict=True)


def test_the_recorded_request_is_an_observation() -> None:
    request = unpack((WIRE / "capture_c2s_frame0.msgpack").read_bytes())
    assert sorted(request) == ["images", "prompt", "state"]
    assert {name: image.shape for name, image in request["images"].items()} == {
        "cam_high": (3, 224, 224),
        "cam_left_wrist": (3, 224, 224),
        "cam_right_wrist": (3, 224, 224),
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "80"),
        (
            np.float32(1.5),
            "83c40d5f5f6e7067656e657269635f5fc3c40464617461cb3ff8000000000000c4056474797065a33c6634",
        ),
        (np.int64(3), "83c40d5f5f6e7067656e657269635f5fc3c4046461746103c4056474797065a33c6938"),
        (np.bool_(True), "83c40d5f5f6e7067656e657269635f5fc3c40464617461c3c4056474797065a37c6231"),
        (
            np.array([1, 2], np.uint8),
            "84c40b5f5f6e6461727261795f5fc3c40464617461c4020102c4056474797065a37c7531c40573686170659102",
        ),
        (np.float64(1.5), "cb3ff8000000000000"),
        (np.str_("ab"), "a26162"),
        ((1, 2), "920102"),
    ],
)
def test_known_bytes(value: object, expected: str) -> None:
    assert pack(value).hex() == expected


ARRAYS = hnp.arrays(
    dtype=hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5)
    | hnp.byte_string_dtypes(min_len=1, max_len=5),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
MESSAGES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | ARRAYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(MESSAGES)
def test_any_message_has_the_bytes_of_the_reference_encoder_and_survives(message: object) -> None:
    encoded = pack(message)
    assert encoded == msgpack_numpy.packb(message)
    assert pack(unpack(encoded)) == encoded


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(20)[::3],
        np.zeros((4, 5, 3), np.uint8).transpose(2, 0, 1),
        np.broadcast_to(np.float32(2), (3, 2)),
    ],
)
def test_arrays_that_are_not_contiguous_go_out_in_c_order(array: np.ndarray) -> None:
    assert pack(array) == msgpack_numpy.packb(array)
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_decoded_arrays_cannot_be_written() -> None:
    array = unpack(pack(np.zeros(3)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.zeros(2, complex),
        np.zeros(2, "V4"),
        np.zeros(2, "M8[s]"),
        np.zeros(2, np.longdouble),
        np.zeros(2, [("a", "f4")]),
        np.complex64(1),
        {1, 2},
        object(),
        2**64,
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(value)),
)
def test_what_the_wire_cannot_carry_is_refused_by_the_encoder(value: object) -> None:
    with pytest.raises(ProtocolError, match=r"cannot send|unsupported dtype"):
        pack({"x": value})


# ---- bytes from a hostile peer -------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    ["O", "|O", "|O8", "|V8", "<c8", "<M8[s]", "<i3", "<f16", "f4,f4", "(2,)<f4", "<f4\n", "", "x" * 9999],
)
def test_dtypes_outside_the_whitelist_are_refused(dtype: str) -> None:
    for message in (array_map(bytes(8), dtype, [1]), scalar_map(1.0, dtype)):
        with pytest.raises(ProtocolError, match="unsupported dtype") as caught:
            unpack(message)
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize("dtype", [None, 5, b"<f4", ["<f4"], {"a": 1}])
def test_a_dtype_that_is_not_text_is_refused(dtype: object) -> None:
    with pytest.raises(ProtocolError, match="unsupported dtype"):
        unpack(array_map(bytes(4), dtype, [1]))


@pytest.mark.parametrize(
    ("data", "shape", "complaint"),
    [
        (bytes(8), [-1], "shape has -1"),
        (bytes(8), [-1, -1], "shape has -1"),
        (bytes(4), [True], "shape has True"),
        (bytes(4), [1.0], "shape has 1.0"),
        (bytes(4), "1", "not a list"),
        (bytes(4), None, "not a list"),
        (bytes(4), [1] * 9, "at most 8"),
        (b"", [0, 2**40], f"shape has {2**40}"),
        (bytes(4), [2**33, 2**31, 2**31], f"shape has {2**33}"),
        (bytes(4), [2**20, 2**20], "more than 16777216 elements"),
        (bytes(7), [2], r"\(2,\) of <f4 has 7 bytes, not 8"),
        (bytes(9), [2], r"\(2,\) of <f4 has 9 bytes, not 8"),
        (b"", [1], "has 0 bytes, not 4"),
        ("abcd", [1], "data is a str"),
        ([0, 0, 0, 0], [4], "data is a list"),
        (None, [0], "data is a NoneType"),
    ],
)
def test_array_data_must_match_its_shape(data: object, shape: object, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        unpack(array_map(data, "<f4", shape))


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("|b1", b"\x02"),
        ("<U1", struct.pack("<I", 0x110000)),
        (">U1", struct.pack(">I", 0x7FFFFFFF)),
    ],
)
def test_codes_that_numpy_cannot_turn_into_values_are_refused(dtype: str, data: bytes) -> None:
    with pytest.raises(ProtocolError, match="has the code"):
        unpack(array_map(data, dtype, [1]))


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (300, "|u1"),
        (-1, "<u4"),
        (1.0, "<i4"),
        (True, "<i4"),
        (1, "<f4"),
        (1, "|b1"),
        ("a", "<U1"),
        (1e300, "<f4"),
    ],
)
def test_numpy_scalars_must_fit_their_dtype(data: object, dtype: str) -> None:
    with pytest.raises(ProtocolError, match="numpy scalar of"):
        unpack(scalar_map(data, dtype))


@pytest.mark.parametrize("value", [np.float32(math.inf), np.float16(1.5), np.int8(-128), np.uint64(2**64 - 1)])
def test_numpy_scalars_come_back_with_their_dtype(value: np.generic) -> None:
    decoded = unpack(pack(value))
    assert decoded == value
    assert decoded.dtype == value.dtype


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ({b"__ndarray__": True}, "array has the keys"),
        (
            {b"__ndarray__": True, b"data": b"", b"dtype": "<f4", b"shape": [0], b"more": 1},
            "array has the keys",
        ),
        ({b"__npgeneric__": True, b"data": 1.0}, "scalar has the keys"),
        ({b"key": 1}, "keys are text"),
        ({1: 2}, "int is not allowed for map key"),
        ({None: 2}, "not allowed for map key"),
        (msgpack.ExtType(5, b""), "extension of type 5"),
        (msgpack.ExtType(5, b"abc"), "max_ext_len"),
        (msgpack.Timestamp(1), "max_ext_len"),
    ],
)
def test_malformed_maps_keys_and_extensions_are_refused(message: object, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        unpack(msgpack.packb(message))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "incomplete"),
        (b"\x92\x01", "incomplete"),
        (b"\xc4\xff", "incomplete"),
        (b"\x80\x80", "extra data"),
        (b"\xc1", "FormatError"),
        (b"\xa1\xff", "utf-8"),
        (b"\xdd\xff\xff\xff\xff", "exceeds max_array_len"),
        (b"\xdf\xff\xff\xff\xff", "exceeds max_map_len"),
        (b"\xdb\x00\x02\x00\x00" + bytes(2**17), "exceeds max_str_len"),
        (b"\x91" * 17 + b"\xc0", "nested deeper than 16 levels"),
        (b"\x81\xa1a" * 17 + b"\xc0", "nested deeper than 16 levels"),
        (b"\x91" * 100_000 + b"\xc0", "StackError"),
        (b"\xdc\x04\x00" + b"\x9f" + b"\xc0" * 15 + (b"\x9f" + b"\xc0" * 15) * 1023, "more than 16384 items"),
        (b"\xdc\x04\x00" + (b"\xdc\x00\x11" + b"\x80" * 17) * 1024, "more than 16384 items"),
        (
            msgpack.packb([{b"__ndarray__": 1, b"data": b"", b"dtype": "<f4", b"shape": [0]}] * 65),
            "64 arrays",
        ),
        (bytes(DEFAULT_LIMITS.max_bytes + 1), "16777217 bytes, at most 16777216"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bytes_that_are_broken_or_too_much(data: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        unpack(data)


def test_limits_bind_over_the_whole_message() -> None:
    message = pack([np.zeros(60, np.uint8), np.zeros(41, np.uint8)])
    with pytest.raises(ProtocolError, match="more than 100 elements"):
        unpack(message, Limits(max_elements=100))
    assert len(unpack(message, Limits(max_elements=101))) == 2


def test_sixteen_levels_are_allowed() -> None:
    message: object = None
    for _ in range(16):
        message = [message]
    assert unpack(pack(message)) == message


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_raise_protocol_error(data: bytes) -> None:
    try:
        message = unpack(data)
    except ProtocolError:
        return
    repr(message)


@given(st.data())
def test_recorded_messages_with_changed_bytes_decode_or_raise_protocol_error(data: st.DataObject) -> None:
    recorded = bytearray((WIRE / data.draw(st.sampled_from(["arrays.bin", "scalars.bin", "nested.bin"]))).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        recorded[data.draw(st.integers(0, len(recorded) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = unpack(bytes(recorded))
    except ProtocolError:
        return
    repr(message)


@given(
    st.fixed_dictionaries(
        {
            b"__ndarray__": st.booleans() | st.none(),
            b"data": st.binary(max_size=40) | st.text(max_size=3) | ARRAYS.map(lambda a: a.tobytes()),
            b"dtype": st.from_regex(r"[<>|=]?[biufSUOVcmM]?\d{0,3}", fullmatch=True) | st.text(max_size=6),
            b"shape": st.lists(st.integers(-(2**40), 2**40) | st.integers(0, 4) | st.booleans(), max_size=10),
        }
    )
)
def test_forged_arrays_decode_to_what_they_say_or_raise_protocol_error(forged: dict[bytes, object]) -> None:
    try:
        array = unpack(msgpack.packb(forged))
    except ProtocolError:
        return
    assert array.shape == tuple(forged[b"shape"])
    assert array.tobytes() == forged[b"data"]
    assert array.dtype.kind in "biufSU"
    repr(array.tolist())


# ---- metadata ------------------------------------------------------------------------------------

KNOWN = ServerInfo(
    server="some-server 1.2",
    policy="scripted",
    cameras=("cam_high", "cam_low"),
    image_size=(224, 224),
    action_rate_hz=50.0,
    action_horizon=50,
    action_dim=14,
    joint_names=("left_joint_0", "right_joint_0"),
    reset_pose=(0.0, -1.5, 1.5),
    state_statistics=StateStatistics((0.0, 1.0), (0.1, 0.0), (-0.2, 0.9), (0.2, 1.1)),
    extensions=frozenset({"request_id", "environment_state"}),
)


def test_server_info_survives_the_wire() -> None:
    assert ServerInfo.from_metadata(unpack(pack(KNOWN.to_metadata()))) == KNOWN


def test_statistics_without_quantiles_are_told_without_them() -> None:
    info = ServerInfo(state_statistics=StateStatistics((0.5,), (0.1,)))
    assert info.to_metadata() == {"state_statistics": {"mean": (0.5,), "std": (0.1,)}}
    assert ServerInfo.from_metadata(unpack(pack(info.to_metadata()))) == info


def test_metadata_of_a_stock_server() -> None:
    assert ServerInfo.from_metadata(unpack((WIRE / "empty_metadata.bin").read_bytes())) == ServerInfo()
    stock = ServerInfo.from_metadata(unpack((WIRE / "metadata.bin").read_bytes()))
    assert stock == ServerInfo(reset_pose=(0.0, -1.5, 1.5, 0.0, 0.0, 0.0))
    assert ServerInfo().to_metadata() == {}


def test_unknown_metadata_keys_are_ignored() -> None:
    assert ServerInfo.from_metadata({"needs_session_id": True, "policy": "x"}) == ServerInfo(policy="x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server", 1),
        ("policy", b"x"),
        ("cameras", "cam_high"),
        ("cameras", ["cam_high", 1]),
        ("image_size", [224]),
        ("image_size", [224, 0]),
        ("image_size", [224.0, 224.0]),
        ("action_rate_hz", 0),
        ("action_rate_hz", math.nan),
        ("action_rate_hz", True),
        ("action_horizon", 0),
        ("action_horizon", 50.0),
        ("action_dim", -1),
        ("joint_names", {}),
        ("reset_pose", [0.0, math.inf]),
        ("reset_pose", "home"),
        ("extensions", [1]),
        ("state_statistics", [0.0]),
        ("state_statistics", {"mean": [0.0]}),
        ("state_statistics", {"mean": [0.0], "std": [1.0], "median": [0.0]}),
        ("state_statistics", {"mean": [0.0, 1.0], "std": [1.0]}),
        ("state_statistics", {"mean": [0.0], "std": [-0.1]}),
        ("state_statistics", {"mean": [math.nan], "std": [0.1]}),
    ],
)
def test_a_wrong_metadata_value_is_named(key: str, value: object) -> None:
    with pytest.raises(ProtocolError, match=f"metadata {key} is .*, not "):
        ServerInfo.from_metadata({key: value})


def test_every_metadata_key_is_documented() -> None:
    document = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text()
    assert [key for key in KNOWN.to_metadata() if f"| `{key}` |" not in document] == []


@pytest.mark.parametrize("metadata", [None, [], "x", 1])
def test_metadata_must_be_a_map(metadata: object) -> None:
    with pytest.raises(ProtocolError, match="not a map"):
        ServerInfo.from_metadata(metadata)
