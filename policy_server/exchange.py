"""One request and its reply: decoding, inference, and how long each part took.

Runs in the policy server; `answer` in its worker thread, `timed` on its event loop. Always holds: durations are told,
never instants.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any

from policy_server.policy import Session
from policy_server.protocol import REQUEST_ID, Limits, ProtocolError, unpack


@dataclass(frozen=True, slots=True)
class Request:
    """One message of a client, not yet decoded, and when it arrived (CLOCK_MONOTONIC)."""

    message: str | bytes
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy made of one message, and when work on it began (CLOCK_MONOTONIC)."""

    reply: dict[str, Any]
    started_ns: int
    infer_ms: float


def answer(session: Session, message: str | bytes, limits: Limits) -> Answer:
    """Decode one message, infer, and echo the request's id. Raises ProtocolError and what the session raises."""
    started_ns = time.monotonic_ns()
    if isinstance(message, str):
        raise ProtocolError("request is a text frame; send one binary frame of msgpack")
    observation = unpack(message, limits)
    if not isinstance(observation, dict):
        raise ProtocolError(f"request is a {type(observation).__name__}, not a map")
    request_id = observation.pop(REQUEST_ID, None)
    if request_id is not None and type(request_id) is not int:
        raise ProtocolError(f"{REQUEST_ID} is {brief(request_id)}, not an integer")
    inferring_ns = time.monotonic_ns()
    reply = session.infer(observation)
    infer_ms = ms_since(inferring_ns)
    return Answer(reply if request_id is None else reply | {REQUEST_ID: request_id}, started_ns, infer_ms)


async def timed(answer: Answer, arrived_ns: int, latency_s: float, timing: Mapping[str, float]) -> dict[str, Any]:
    """The reply with its timing and that of `timing`, no sooner than `latency_s` after the request's arrival."""
    answered_ns = time.monotonic_ns()
    await asyncio.sleep(latency_s - ms_since(arrived_ns) / 1e3)
    pretended_ms = ms_since(answered_ns)  # a made latency stands for a model's time
    return {
        "policy_timing": {"infer_ms": answer.infer_ms},
        **answer.reply,
        "server_timing": {
            "infer_ms": answer.infer_ms + pretended_ms,
            **timing,
            "queue_ms": (answer.started_ns - arrived_ns) / 1e6,
            "total_ms": ms_since(arrived_ns),
        },
    }


def ms_since(t_ns: int) -> float:
    """Milliseconds since an instant of CLOCK_MONOTONIC."""
    return (time.monotonic_ns() - t_ns) / 1e6
