"""The bytes between controller and policy server: openpi's msgpack with numpy maps, and the metadata.

Runs in the policy server and in the controller's policy link; imports numpy and msgpack only. Always holds:
`pack` writes, byte for byte, what openpi's encoder writes, and `unpack` trusts nobody. (openpi's decoder
builds object arrays from the bytes of a peer, who can thereby crash the process.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from reprlib import repr as brief
from typing import Any

import msgpack  # type: ignore[import-untyped]
import numpy as np

REQUEST_ID = "request_id"
"""Extension and key: a request may carry this integer, and its reply then echoes it."""

ENVIRONMENT_STATE = "environment_state"
"""Extension and key: an observation may carry the simulated scene's state, for policies that want it."""

OBSERVATION_AGE = "observation_age_s"
"""Extension and key: seconds from the reading of `state` to the sending, for policies that keep time."""

PLAYBACK = "playback_s"
"""Extension and key: seconds of the policy's own time from the beginning of the run to the reading of `state`. It
passes slower than real time in a run at less than full speed, and stands while the arms go to the first action."""

RTC = "rtc"
"""Extension and key: real-time chunking. A map of `actions` (k, 14), what is left of the previous chunk in the units
of answers, its first row being the step that the new chunk's first row replaces; and `delay_steps`, how many of them
will be executed before the answer can be used."""

JPEG_IMAGES = "jpeg_images"
"""Extension: an image may be the bytes of a JPEG file in place of an array."""

_DTYPE = re.compile(r"[<>|][biufSU]\d{1,8}")
_MAX_CODE = {"b": 0x01, "U": 0x10FFFF}
"""Largest code per element for the kinds in which numpy itself misbehaves on a larger one."""

_ARRAY_KEYS = {b"__ndarray__", b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {b"__npgeneric__", b"data", b"dtype"}
_SCALAR_TYPES = {"b": bool, "i": int, "u": int, "f": float}


class ProtocolError(ValueError):
    """A message that is not what the protocol allows. The text names the value and the bound."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may hold. The defaults fit four raw 480x640 pictures in float32, and little more."""

    max_bytes: int = 16 * 1024 * 1024
    max_depth: int = 16
    max_length: int = 1024  # entries of one map or list
    max_items: int = 16_384  # entries of all maps and lists together
    max_text_bytes: int = 64 * 1024  # one string
    max_arrays: int = 64
    max_dims: int = 8  # of one array
    max_elements: int = 16 * 1024 * 1024  # of all arrays together, and of one dimension


DEFAULT_LIMITS = Limits()


def pack(message: object) -> bytes:
    """Encode a message of maps, lists, plain values, numpy arrays and numpy scalars.

    Raises ProtocolError for what the wire cannot carry: dtypes other than bool, integer, float and
    fixed-length text or bytes, and objects of any other type.
    """
    try:
        data: bytes = msgpack.packb(message, default=_encode)
    except OverflowError as error:
        raise ProtocolError(f"cannot send an integer outside 64 bits: {error}") from error
    return data


def unpack(data: bytes, limits: Limits = DEFAULT_LIMITS) -> object:
    """Decode one message. Arrays are read-only and share the bytes that msgpack took out of the message.

    Raises ProtocolError for bytes that are malformed, truncated, followed by others, or beyond `limits`.
    """
    if len(data) > limits.max_bytes:
        raise ProtocolError(f"message has {len(data)} bytes, at most {limits.max_bytes} are allowed")
    decoder = _Decoder(limits)
    try:
        message: object = msgpack.unpackb(
            data,
            object_hook=decoder.map,
            list_hook=decoder.list,
            ext_hook=_refuse_extension,
            strict_map_key=True,
            max_str_len=limits.max_text_bytes,
            max_bin_len=limits.max_bytes,
            max_array_len=limits.max_length,
            max_map_len=limits.max_length,
            max_ext_len=0,
        )
    except ProtocolError:
        raise
    except ValueError as error:  # every error of msgpack is one
        raise ProtocolError(f"message is not valid msgpack: {str(error) or type(error).__name__}") from error
    _check_depth(message, limits.max_depth)
    return message


def _encode(value: object) -> dict[bytes, object]:
    if not isinstance(value, np.ndarray | np.generic):
        raise ProtocolError(f"cannot send a {type(value).__name__}; send plain values, arrays, lists, maps")
    _check_dtype(value.dtype.str)
    if isinstance(value, np.ndarray):
        # A contiguous array goes out without the copy that tobytes() makes: half the cost for four pictures.
        data = value.data if value.flags.c_contiguous else value.tobytes()
        return {b"__ndarray__": True, b"data": data, b"dtype": value.dtype.str, b"shape": value.shape}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


class _Decoder:
    """msgpack's hooks for one message: rebuilds arrays and counts what the message holds while it is read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items = 0
        self._arrays = 0
        self._elements = 0

    def list(self, items: list[object]) -> list[object]:
        self._count_items(len(items))
        return items

    def map(self, items: dict[str | bytes, object]) -> object:
        self._count_items(len(items))
        if b"__ndarray__" in items:
            return self._array(items)
        if b"__npgeneric__" in items:
            return _scalar(items)
        for key in items:
            if isinstance(key, bytes):
                raise ProtocolError(f"map has the key {brief(key)}; keys are text")
        return items

    def _count_items(self, n: int) -> None:
        self._items += n + 1
        if self._items > self._limits.max_items:
            raise ProtocolError(f"message holds more than {self._limits.max_items} items")

    def _array(self, items: dict[str | bytes, Any]) -> np.ndarray[Any, Any]:
        if items.keys() != _ARRAY_KEYS:
            raise ProtocolError(f"array has the keys {brief(sorted(map(str, items)))}")
        data, dtype, shape = items[b"data"], _check_dtype(items[b"dtype"]), self._shape(items[b"shape"])
        n_elements = math.prod(shape)
        self._arrays += 1
        self._elements += n_elements
        if self._arrays > self._limits.max_arrays:
            raise ProtocolError(f"message holds more than {self._limits.max_arrays} arrays")
        if self._elements > self._limits.max_elements:
            raise ProtocolError(f"arrays hold more than {self._limits.max_elements} elements")
        if not isinstance(data, bytes):
            raise ProtocolError(f"array data is a {type(data).__name__}, not bytes")
        n_bytes = n_elements * dtype.itemsize
        if len(data) != n_bytes:
            raise ProtocolError(f"array {shape} of {dtype.str} has {len(data)} bytes, not {n_bytes}")
        _check_codes(data, dtype)
        return np.ndarray(buffer=data, dtype=dtype, shape=shape)

    def _shape(self, shape: object) -> tuple[int, ...]:
        if not isinstance(shape, list) or len(shape) > self._limits.max_dims:
            raise ProtocolError(f"shape is {brief(shape)}, not a list of at most {self._limits.max_dims}")
        for n in shape:
            if type(n) is not int or not 0 <= n <= self._limits.max_elements:
                raise ProtocolError(f"shape has {brief(n)}, not a count in 0..{self._limits.max_elements}")
        return tuple(shape)


def _scalar(items: dict[str | bytes, Any]) -> object:
    if items.keys() != _SCALAR_KEYS:
        raise ProtocolError(f"numpy scalar has the keys {brief(sorted(map(str, items)))}")
    dtype, value = _check_dtype(items[b"dtype"]), items[b"data"]
    if type(value) is not _SCALAR_TYPES.get(dtype.kind):
        raise ProtocolError(f"numpy scalar of {dtype.str} has the value {brief(value)}")
    try:
        with np.errstate(over="raise"):
            return dtype.type(value)
    except (OverflowError, FloatingPointError) as error:
        raise ProtocolError(f"numpy scalar of {dtype.str} cannot hold {value}") from error


def _check_dtype(text: object) -> np.dtype[Any]:
    """The dtype that `text` names. Object, void, complex and time dtypes, and long doubles, are refused."""
    if isinstance(text, str) and _DTYPE.fullmatch(text):
        try:
            dtype = np.dtype(text)
        except TypeError:
            pass  # a size the kind does not have, such as <i3
        else:
            if text[1:] != "f16":  # its bytes mean something else on every machine
                return dtype
    raise ProtocolError(f"unsupported dtype {brief(text)}; send bool, integer, float or text")


def _check_codes(data: bytes, dtype: np.dtype[Any]) -> None:
    bound = _MAX_CODE.get(dtype.kind)
    if bound is None or not data:
        return
    code = "u1" if dtype.kind == "b" else dtype.byteorder.replace("|", "=") + "u4"
    largest = int(np.frombuffer(data, code).max())
    if largest > bound:
        raise ProtocolError(f"array of {dtype.str} has the code {largest:#x}, at most {bound:#x} is allowed")


def _check_depth(message: object, max_depth: int) -> None:
    level = _containers([message])
    for _ in range(max_depth):
        level = _containers(item for box in level for item in (box.values() if isinstance(box, dict) else box))
    if level:
        raise ProtocolError(f"message is nested deeper than {max_depth} levels")


def _containers(items: Iterable[object]) -> list[dict[str, object] | list[object]]:
    return [item for item in items if isinstance(item, dict | list)]


def _refuse_extension(code: int, data: bytes) -> object:
    raise ProtocolError(f"message holds a msgpack extension of type {code}; none is allowed")


# ---- the server's metadata ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateStatistics:
    """What `state` looked like in the data that the policy was trained on: one number for each of its elements, in the
    units of `state`. The quantiles are None where they are not known."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...] | None = None
    q99: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a policy server says of itself in its first message. None means that it does not say.

    image_size: (height, width) in pixels. action_rate_hz: steps per second of the policy's chunks.
    reset_pose: joint positions in rad (grippers in m), openpi's key; its length is the robot's business.
    """

    server: str | None = None  # name and version
    policy: str | None = None
    cameras: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    action_rate_hz: float | None = None
    action_horizon: int | None = None
    action_dim: int | None = None
    joint_names: tuple[str, ...] | None = None
    reset_pose: tuple[float, ...] | None = None
    state_statistics: StateStatistics | None = None
    extensions: frozenset[str] = frozenset()

    def to_metadata(self) -> dict[str, object]:
        """The metadata map: one key for each field that is known. An unknown server gives openpi's `{}`."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["extensions"] = sorted(self.extensions) or None
        if self.state_statistics is not None:
            known["state_statistics"] = {k: v for k, v in asdict(self.state_statistics).items() if v is not None}
        return {key: value for key, value in known.items() if value is not None}

    @classmethod
    def from_metadata(cls, metadata: object) -> ServerInfo:
        """Read a metadata map, ignoring unknown keys. Raises ProtocolError for a known key's bad value."""
        if not isinstance(metadata, Mapping):
            raise ProtocolError(f"metadata is {brief(metadata)}, not a map")
        known: dict[str, Any] = {}
        for key, read in _READERS.items():
            if metadata.get(key) is None:
                continue
            try:
                known[key] = read(metadata[key])
            except ValueError as error:
                raise ProtocolError(f"metadata {key} is {brief(metadata[key])}, not {error}") from error
        return cls(**known)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")  # noqa: TRY004 - a peer's value, not a caller's argument
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("a whole number of at least 1")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a finite number")
    return float(value)


def _rate(value: object) -> float:
    if _number(value) <= 0:
        raise ValueError("a rate above 0")
    return _number(value)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of text")  # noqa: TRY004
    return tuple(_text(item) for item in value)


def _pose(value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list of finite numbers")  # noqa: TRY004
    return tuple(_number(item) for item in value)


def _statistics(value: object) -> StateStatistics:
    names = [field.name for field in fields(StateStatistics)]
    if not isinstance(value, Mapping) or not {"mean", "std"} <= value.keys() <= set(names):
        raise ValueError("a map of mean, std and perhaps q01, q99")
    given = {name: _pose(value[name]) for name in names if value.get(name) is not None}
    if len({len(numbers) for numbers in given.values()}) > 1 or min(given["std"], default=0.0) < 0.0:
        raise ValueError("statistics of one length, with no std below 0")
    return StateStatistics(**given)


def _size(value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("[height, width]")
    return _count(value[0]), _count(value[1])


_READERS: dict[str, Callable[[object], object]] = {
    "server": _text,
    "policy": _text,
    "cameras": _names,
    "image_size": _size,
    "action_rate_hz": _rate,
    "action_horizon": _count,
    "action_dim": _count,
    "joint_names": _names,
    "reset_pose": _pose,
    "state_statistics": _statistics,
    "extensions": lambda value: frozenset(_names(value)),
}
