"""Talks to the policy server as the policy link would, and measures the way there without asking it to infer.

How long a request's bytes take is measured with a message that is begun and never finished: a ping behind its first
part is answered when all of that part has arrived, and no server is handed an unfinished message. It ends with the
connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from controller import credentials
from controller.answers import Acceptance, AnswerError, actions_from
from controller.config import Config, Policy
from controller.config_robot import both_arms
from controller.credentials import CredentialsError, NotOurKeyError
from controller.doctor.server import Inference, Server
from controller.robots.base import Vector
from controller.server_terms import SessionError, check_server
from policy_server.protocol import ProtocolError, ServerInfo, pack, unpack

PINGS, PING_S = 20, 0.02
PING_TIMEOUT_S = 1.0
METADATA_S = 3.0
"""A server that still compiles its model sends its metadata later; the doctor says so and does not wait."""

PARTS = 5
INFERENCES = 5
MAX_MESSAGE_B = 16 << 20
PROMPT = "wait"


class _Enough(Exception):
    """The unfinished message has served its purpose."""


def request_b(config: Config) -> int:
    """Bytes of a request of raw pictures, near enough."""
    return len(config.policy.cameras) * 3 * config.policy.image_size**2 + 1000


def ask(config: Config, q: Vector | None, *, infer: bool) -> Server:
    """Everything about the server. q: the pose that inference is asked for, the home pose if None."""
    return asyncio.run(_ask(config, q, infer))


async def _ask(config: Config, q: Vector | None, infer: bool) -> Server:
    server = Server(config.policy.url, request_b=request_b(config))
    try:
        async with _connection(config.policy) as socket:
            async with asyncio.timeout(METADATA_S):
                first = await socket.recv()
            if isinstance(first, str):
                return replace(server, error=f"it says: {first[:160]}")
            server = replace(server, info=ServerInfo.from_metadata(unpack(first)))
            server = replace(server, round_trips_ms=await _pings(socket))
            if infer:
                server = replace(server, inference=await _infer(socket, config, server, q))
            return replace(server, request_ms=await _parts(socket, server.request_b))
    except TimeoutError:
        return replace(server, error=f"no metadata within {METADATA_S:g} s; perhaps it is still warming up")
    except ProtocolError as error:
        return replace(server, info=None, error=f"its metadata cannot be read: {error}")
    except NotOurKeyError as error:
        return replace(server, error=str(error), allowed=False)
    except (OSError, ConnectionClosed, InvalidHandshake, InvalidURI, CredentialsError) as error:
        return replace(server, error=str(error) or type(error).__name__)


def _connection(policy: Policy) -> connect:
    return connect(
        policy.url,
        compression=None,
        max_size=MAX_MESSAGE_B,
        open_timeout=min(policy.connect_timeout_s, METADATA_S),
        close_timeout=1.0,
        ping_interval=None,
        proxy=None,
        additional_headers=credentials.headers(policy),
        ssl=credentials.tls(policy),
    )


async def _pings(socket: ClientConnection) -> tuple[float, ...]:
    """Round trips in ms, the first left out; none where a ping was not answered in time."""
    times_ms = []
    try:
        for _ in range(PINGS + 1):
            begin_s = time.monotonic()
            async with asyncio.timeout(PING_TIMEOUT_S):
                await (await socket.ping())
            times_ms.append(1e3 * (time.monotonic() - begin_s))
            await asyncio.sleep(PING_S)
    except TimeoutError:
        return ()
    return tuple(times_ms[1:])


async def _parts(socket: ClientConnection, size_b: int) -> tuple[float, ...]:
    """How long each part of an unfinished message took, in ms, the first left out. The connection is of no more use."""
    times_ms: list[float] = []
    part = bytes(size_b)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(PARTS):
            begin_s = time.monotonic()
            yield part
            async with asyncio.timeout(PING_TIMEOUT_S):
                await (await socket.ping())
            times_ms.append(1e3 * (time.monotonic() - begin_s))
        raise _Enough

    try:
        await socket.send(parts())
    except (_Enough, TimeoutError, ConnectionClosed):
        pass  # what was measured until then counts
    return tuple(times_ms[1:])


async def _infer(socket: ClientConnection, config: Config, server: Server, q: Vector | None) -> Inference:
    """A few requests with grey pictures. The answers are checked as a run's are, and forgotten."""
    info, policy = server.info, config.policy
    assert info is not None
    round_trips_ms, inference_ms = [], []
    try:
        cameras, rate_hz = check_server(info, config)
        grey = np.full((3, policy.image_size, policy.image_size), 128, np.uint8)
        state = both_arms(config.robot.homing.pose) if q is None else q
        request = pack({"state": state, "images": dict.fromkeys(cameras, grey), "prompt": PROMPT})
        for _ in range(INFERENCES):
            begin_s = time.monotonic()
            await socket.send(request)
            async with asyncio.timeout(policy.request_timeout_s):
                answer = await socket.recv()
            round_trips_ms.append(1e3 * (time.monotonic() - begin_s))
            if isinstance(answer, str):
                return Inference((), (), f"the server says: {answer[:160]}")
            reply = unpack(answer)
            actions_from(reply, Acceptance.of(config), rate_hz)
            timing = reply.get("server_timing") if isinstance(reply, dict) else None
            if isinstance(timing, dict) and isinstance(timing.get("infer_ms"), float):
                inference_ms.append(timing["infer_ms"])
    except TimeoutError:
        return Inference((), (), f"no answer within policy.request_timeout_s = {policy.request_timeout_s:g} s")
    except (AnswerError, ProtocolError, SessionError, ConnectionClosed) as error:
        return Inference((), (), str(error))
    return Inference(tuple(round_trips_ms), tuple(inference_ms))
