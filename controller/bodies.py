"""What the bodies of an operator's commands may hold, key by key, and the words for what is wrong with one. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.jog import FARTHEST_M, FARTHEST_RAD
from controller.robots.base import JOINT_NAMES
from controller.run_options import LONGEST_HORIZON, Seam
from controller.run_options import SPEED as SPEEDS

MAX_PROMPT_B = 1000
"""The prompt's field in shared memory holds 1024 bytes."""

MAX_SEED = 2**32 - 1
SHOWN = 60
"""Characters of a wrong value that its refusal repeats."""

Body = Mapping[str, Any]


class RequestError(Exception):
    """The request itself is wrong. key: the offending body key, empty when it is the body as a whole."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a body. take: JSON value -> what the supervisor is given; raises RequestError."""

    name: str
    bound: str
    take: Callable[[Key, Any], Any]
    optional: bool = False

    @property
    def what(self) -> str:
        """For the list of routes."""
        return f"{self.bound}; may be left out" if self.optional else self.bound

    def wrong(self, value: Any) -> RequestError:
        return RequestError(self.name, f"{self.name}={repr(value)[:SHOWN]} must be {self.bound}")


def read(raw: bytes, keys: Sequence[Key]) -> Body:
    """A body with these keys and no others, each value as its key takes it. Raises RequestError."""
    try:
        body = json.loads(raw) if raw else {}
    except (ValueError, RecursionError) as error:
        raise RequestError("", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError("", f"the body must be a JSON object, not {type(body).__name__}")
    names = [key.name for key in keys]
    for name in body.keys() - set(names):
        raise RequestError(name, f"unknown key {name!r}; possible keys: {', '.join(names) or 'none'}")
    for key in keys:
        if key.name not in body and not key.optional:
            raise RequestError(key.name, f"{key.name} is missing; it must be {key.bound}")
    return {key.name: key.take(key, body[key.name]) for key in keys if key.name in body}


def _prompt(key: Key, prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise RequestError(key.name, f"prompt must be text, not {type(prompt).__name__}")
    if not prompt.strip() or not prompt.isprintable():  # a lone surrogate is not printable either
        raise RequestError(key.name, "prompt must be one line of printable text, not empty")
    size_b = len(prompt.encode())
    if size_b > MAX_PROMPT_B:
        raise RequestError(key.name, f"prompt has {size_b} bytes in UTF-8, at most {MAX_PROMPT_B} are possible")
    return prompt


def _whole(least: int, most: int) -> Callable[[Key, Any], int]:
    def take(key: Key, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise key.wrong(value)
        return value

    return take


def _seam(key: Key, value: Any) -> Seam:
    for seam in Seam:
        if value == seam.word:
            return seam
    raise key.wrong(value)


def _speed(key: Key, value: Any) -> float:
    if type(value) not in (int, float) or not SPEEDS[0] <= value <= SPEEDS[1]:  # nan lies nowhere
        raise key.wrong(value)
    return float(value)


def _joint(key: Key, value: Any) -> str:
    if value not in JOINT_NAMES:
        raise key.wrong(value)
    return str(value)


def _distance(key: Key, value: Any) -> float:
    if type(value) not in (int, float) or not -FARTHEST_RAD <= value <= FARTHEST_RAD:  # nan lies nowhere
        raise key.wrong(value)
    return float(value)


def _yes_or_no(key: Key, value: Any) -> bool:
    if not isinstance(value, bool):
        raise key.wrong(value)
    return value


PROMPT = Key("prompt", f"printable text of 1 to {MAX_PROMPT_B} bytes", _prompt)
SEED = Key("seed", f"a whole number from 0 to {MAX_SEED}", _whole(0, MAX_SEED))
SEAM = Key("seam", f"one of {', '.join(seam.word for seam in Seam)}", _seam, optional=True)
SPEED = Key("speed", f"a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}", _speed, optional=True)
JOINT = Key("joint", f"one of {', '.join(JOINT_NAMES)}", _joint)
BY = Key("by", f"a number, at most {FARTHEST_RAD:g} rad either way, of a gripper {FARTHEST_M:g} m", _distance)
DRY = Key("dry", "true or false", _yes_or_no, optional=True)
HORIZON = Key(
    "execution_horizon",
    f"a whole number from 0 to {LONGEST_HORIZON}",
    _whole(0, LONGEST_HORIZON),
    optional=True,
)
