"""The policy link: the process that owns the websocket to the policy server.

It connects, reads what the server wants, and while a motion is ordered keeps exactly one request under way: the next
one leaves on the first fresh frame after the last answer, while the arms go on executing. Whatever is wrong with a
session (timeout, garbage, a lost connection) ends that session, so a late reply can never be taken for a new one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from functools import partial
from http import HTTPStatus
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI

from controller import credentials, layout
from controller.answers import Acceptance, AnswerError, actions_from
from controller.child import Child, keep_freed_memory
from controller.config import Config
from controller.credentials import CredentialsError
from controller.faults import FaultCode
from controller.jpeg import encode_jpeg
from controller.observer import Observation, Observer
from controller.robots.base import JOINT_NAMES, N_JOINTS
from policy_server.protocol import (
    ENVIRONMENT_STATE,
    JPEG_IMAGES,
    OBSERVATION_AGE,
    REQUEST_ID,
    ProtocolError,
    ServerInfo,
    pack,
    unpack,
)
from shm import Wake

BEAT_S = 0.02
BACKOFF_S = (0.2, 0.5, 1.0, 2.0)
MAX_MESSAGE_B = 16 << 20
WARMING = "connected; it has not sent its metadata yet, perhaps it is still warming up"

KNOWN_EXTENSIONS = frozenset({REQUEST_ID, ENVIRONMENT_STATE, OBSERVATION_AGE, JPEG_IMAGES})

log = logging.getLogger(__name__)


class SessionError(RuntimeError):
    """This connection is of no more use. `code` is the fault it means for a motion under way."""

    def __init__(self, code: FaultCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_server(info: ServerInfo, config: Config) -> tuple[tuple[str, ...], float]:
    """Cameras to send and action rate, from the metadata or else the configuration. Raises SessionError."""
    cameras = info.cameras if info.cameras is not None else config.policy.cameras
    if not cameras or len(set(cameras)) < len(cameras):
        raise SessionError(FaultCode.POLICY_REFUSED, f"the server wants no camera or one twice: {list(cameras)}")
    lacking = [name for name in cameras if name not in config.cameras]
    if lacking:
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server wants camera {', '.join(lacking)}; configured: {', '.join(config.cameras)}",
        )
    size = config.policy.image_size
    if info.image_size is not None and info.image_size != (size, size):
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server wants images of {info.image_size[0]}x{info.image_size[1]}; "
            f"policy.image_size is {size}",
        )
    if config.policy.image_encoding == "jpeg" and JPEG_IMAGES not in info.extensions:
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            "policy.image_encoding is 'jpeg', and the server does not offer jpeg_images; set it to 'raw'",
        )
    if info.joint_names is not None and info.joint_names != JOINT_NAMES:
        other = next(((a, b) for a, b in zip(info.joint_names, JOINT_NAMES, strict=False) if a != b), None)
        raise SessionError(
            FaultCode.POLICY_REFUSED,
            f"the server's {len(info.joint_names)} joints are not this robot's {N_JOINTS}"
            + (f": it has {other[0]} where {other[1]} belongs" if other else ""),
        )
    return cameras, info.action_rate_hz if info.action_rate_hz is not None else config.policy.action_rate_hz


class Session:
    """One connection to the policy server."""

    def __init__(self, link: Link, socket: ClientConnection, info: ServerInfo) -> None:
        self._link, self._socket, self._info, self._config = link, socket, info, link.child.config
        self.cameras, self._rate_hz = check_server(info, self._config)
        self._with_ids = REQUEST_ID in info.extensions
        self._with_environment = ENVIRONMENT_STATE in info.extensions
        self._with_age = OBSERVATION_AGE in info.extensions
        policy = self._config.policy
        encode = partial(encode_jpeg, quality=policy.jpeg_quality) if policy.image_encoding == "jpeg" else None
        self._observer = Observer(link.child, self.cameras, self._with_environment, encode)
        self._acceptance = Acceptance.of(self._config)
        self._answered = False

    def described(self) -> dict[str, Any]:
        """What the daemon's status shows of the server."""
        info = self._info
        return {
            "server": _ascii(info.server),
            "policy": _ascii(info.policy),
            "cameras": self.cameras,
            "image_size": info.image_size,
            "action_rate_hz": self._rate_hz,
            "action_horizon": info.action_horizon,
            "extensions": sorted(info.extensions & KNOWN_EXTENSIONS),
        }

    async def serve(self) -> None:
        """Answer orders until the connection ends. Raises SessionError or ConnectionClosed."""
        closed = asyncio.ensure_future(self._socket.wait_closed())
        try:
            while not closed.done():
                motion_id, prompt = self._link.order()
                if motion_id == 0:
                    await self._link.wait(self._link.ordered, 0.5, closed)
                elif await self._fresh_frames(motion_id, closed):
                    await self._request(motion_id, prompt)
        finally:
            closed.cancel()
        raise SessionError(FaultCode.POLICY_LOST, "the server closed the connection")

    async def _fresh_frames(self, motion_id: int, closed: asyncio.Future[None]) -> bool:
        """Wait until every camera has a frame not sent before; False when the order or connection changed."""
        begin_s = time.monotonic()
        while waiting := self._observer.waiting_for():
            bound_s = min(self._config.cameras[name].max_age_s for name in waiting)
            age_s = time.monotonic() - begin_s
            if age_s > bound_s:
                self._link.trip(
                    FaultCode.CAMERA_STALE,
                    f"no fresh frame from {', '.join(waiting)} for {age_s:.2f} s (bound {bound_s:.2f} s)",
                    motion_id,
                )
                begin_s = time.monotonic()
            await self._link.wait(self._link.framed, 0.05, closed)
            if closed.done() or self._link.order()[0] != motion_id:
                return False
        return True

    async def _request(self, motion_id: int, prompt: str) -> None:
        link, status = self._link, self._link.child.status
        t_build_ns = time.monotonic_ns()
        observation = self._observer.observe(prompt)
        # cameras that take turns at a low rate are as far apart as their period, and none of them is late
        bound_s = max(self._config.policy.max_observation_spread_s, 1.5 / observation.slowest_hz)
        if observation.spread_s > bound_s:
            text = f"exposures lie {observation.spread_s:.3f} s apart (bound {bound_s:.3f} s)"
            link.trip(FaultCode.OBSERVATION_SPREAD, text, motion_id)
            return
        chunk_id = link.next_chunk_id()
        request = dict(observation.request)
        if self._with_ids:
            request[REQUEST_ID] = chunk_id
        if self._with_age:
            request[OBSERVATION_AGE] = (time.monotonic_ns() - observation.t_observation_ns) * 1e-9
        message = pack(request)
        t_sent_ns = time.monotonic_ns()
        status["requests"] += 1
        reply = await self._ask(message)
        t_received_ns = time.monotonic_ns()
        answer = self._decode(reply, chunk_id)
        status["answers"] += 1
        status["build_ms"] = (t_sent_ns - t_build_ns) * 1e-6
        status["inference_ms"] = _inference_ms(answer)
        try:
            actions = actions_from(answer, self._acceptance, self._rate_hz)
        except AnswerError as error:
            raise SessionError(FaultCode.ANSWER_INVALID, str(error)) from None
        if link.order()[0] != motion_id:
            return  # stopped meanwhile
        link.deliver(observation, motion_id, chunk_id, t_sent_ns, t_received_ns, self._rate_hz, actions)

    async def _ask(self, message: bytes) -> bytes:
        policy = self._config.policy
        timeout_s = policy.request_timeout_s if self._answered else policy.first_answer_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.send(message)
                reply = await self._socket.recv()
        except TimeoutError:
            raise SessionError(FaultCode.POLICY_LOST, f"no answer within {timeout_s:g} s") from None
        if isinstance(reply, str):
            last = reply.strip().splitlines()[-1:] or ["(no text)"]
            raise SessionError(FaultCode.POLICY_REFUSED, f"the server answered: {last[0][:160]}")
        self._answered = True
        return reply

    def _decode(self, reply: bytes, chunk_id: int) -> dict[str, Any]:
        try:
            answer = unpack(reply)
        except ProtocolError as error:
            raise SessionError(FaultCode.ANSWER_INVALID, f"the answer cannot be read: {error}") from None
        if not isinstance(answer, dict):
            kind = type(answer).__name__
            raise SessionError(FaultCode.ANSWER_INVALID, f"the answer is a {kind}, must be a map")
        if self._with_ids and answer.get(REQUEST_ID) != chunk_id:
            got = answer.get(REQUEST_ID)
            raise SessionError(FaultCode.ANSWER_INVALID, f"answer to request {got!r}, expected {chunk_id}")
        return answer


def _ascii(text: str | None) -> str | None:
    """A server's name as it fits the status record, whatever it says."""
    return text[:80].encode("ascii", "replace").decode() if text else None


def _inference_ms(answer: dict[str, Any]) -> float:
    timing = answer.get("server_timing")
    value = timing.get("infer_ms") if isinstance(timing, dict) else None
    return float(value) if isinstance(value, int | float) else float("nan")


class Link:
    """The process's state that outlives sessions."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.framed, self.ordered = asyncio.Event(), asyncio.Event()
        self._orders = child.open("link_order").reader()
        self._order = np.zeros((), layout.LINK_ORDER)
        self._chunk_writer = child.open("chunk").writer()
        self._chunk = np.zeros((), layout.CHUNK)
        self._chunk_id = time.monotonic_ns() // 1_000_000  # a restarted link goes on with higher numbers

    def next_chunk_id(self) -> int:
        self._chunk_id += 1
        return self._chunk_id

    def order(self) -> tuple[int, str]:
        """The motion that requests are wanted for (0: none), and its prompt."""
        self._orders.newest(self._order)
        return int(self._order["motion_id"]), layout.text(self._order["prompt"])

    async def wait(self, event: asyncio.Event, timeout_s: float, closed: asyncio.Future[None]) -> None:
        """Until the event, the timeout, or the end of the connection."""
        waiter = asyncio.ensure_future(event.wait())
        either: set[asyncio.Future[Any]] = {waiter, closed}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        event.clear()

    def trip(self, code: FaultCode, text: str, motion_id: int) -> None:
        log.warning("fault=%s motion_id=%d %s", code.name.lower(), motion_id, text)
        self.child.status["error"] = text.encode()[:240]
        self.child.trip(time.monotonic_ns(), code, text, motion_id)

    def deliver(
        self,
        observation: Observation,
        motion_id: int,
        chunk_id: int,
        t_sent_ns: int,
        t_received_ns: int,
        rate_hz: float,
        actions: np.ndarray[Any, Any],
    ) -> None:
        """Publish a checked chunk and wake control."""
        record, status = self._chunk, self.child.status
        record["chunk_id"], record["motion_id"] = chunk_id, motion_id
        record["t_exposure_oldest_ns"] = observation.t_exposure_oldest_ns
        record["t_frame_ns"] = observation.t_frame_ns
        record["t_sent_ns"], record["t_received_ns"] = t_sent_ns, t_received_ns
        record["inference_ms"] = status["inference_ms"]
        record["t_observation_ns"] = observation.t_observation_ns
        record["action_rate_hz"], record["n_steps"] = rate_hz, len(actions)
        record["actions"][: len(actions)] = actions
        self._chunk_writer.write(record)
        self.child.board.chunk_wake.set()
        status["error"] = b""
        if status["first_chunk_motion_id"] != motion_id:
            status["first_chunk_motion_id"] = motion_id
            self.child.beat(time.monotonic_ns())
            self.child.board.attention.set()

    async def beat(self) -> None:
        """The heartbeat; ends the process's work when it is time."""
        while not self.child.should_end:
            self.child.read_permit()
            self.child.beat(time.monotonic_ns())
            await asyncio.sleep(BEAT_S)

    async def connections(self) -> None:
        """Connect, serve, and connect again with back-off, for ever."""
        failures = 0
        while True:
            try:
                await self._connection()
            except (OSError, ConnectionClosed, InvalidHandshake, InvalidURI, TimeoutError) as error:
                failures = self._lost(failures, FaultCode.POLICY_LOST, _reason(error))
            except SessionError as error:
                failures = self._lost(failures, error.code, str(error))
            except CredentialsError as error:
                failures = self._lost(failures, FaultCode.POLICY_REFUSED, str(error))
            except ProtocolError as error:
                text = f"the server's metadata cannot be read: {error}"
                failures = self._lost(failures, FaultCode.ANSWER_INVALID, text)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _connection(self) -> None:
        policy, status = self.child.config.policy, self.child.status
        async with connect(
            policy.url,
            compression=None,
            max_size=MAX_MESSAGE_B,
            open_timeout=policy.connect_timeout_s,
            close_timeout=1.0,
            ping_timeout=policy.first_answer_timeout_s,  # a stock server answers no ping while it infers
            proxy=None,
            additional_headers=credentials.headers(policy),
            ssl=credentials.tls(policy),
        ) as socket:
            status["error"] = WARMING.encode()
            async with asyncio.timeout(policy.first_answer_timeout_s):
                first = await socket.recv()
            if isinstance(first, str):
                raise SessionError(FaultCode.POLICY_REFUSED, f"the server says: {first[:160]}")
            info = ServerInfo.from_metadata(unpack(first))
            session = Session(self, socket, info)
            status["server"] = json.dumps(session.described()).encode()
            status["connected"], status["error"] = 1, b""
            status["reconnects"] += 1
            log.info("connected url=%s server=%s cameras=%s", policy.url, info.server, ",".join(session.cameras))
            try:
                await session.serve()
            finally:
                await socket.close()  # with 1000; leaving by an exception would tell the server of an error

    def _lost(self, failures: int, code: FaultCode, text: str) -> int:
        """Say why there is no connection; a fault if a motion needs it. Returns the failures in a row."""
        status = self.child.status
        was_connected, status["connected"] = bool(status["connected"]), 0
        if was_connected or layout.text(status["error"]) != text[:240]:
            log.warning("no connection: %s", text)
        status["error"] = text.encode()[:240]
        if motion_id := self.order()[0]:
            self.trip(code, text, motion_id)
        return 0 if was_connected else failures + 1


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "connecting timed out, or the server is still warming up"
    if isinstance(error, InvalidStatus) and error.response.status_code == HTTPStatus.UNAUTHORIZED:
        return "the server asks for a key: set policy.api_key_file to a file that holds it"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not known here ({error.verify_message}): set policy.tls_ca_file"
    if isinstance(error, InvalidMessage):
        return f"no websocket answer ({error}): does the server speak wss:// where policy.url says ws://?"
    return f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else str(error)


def _woken(wake: Wake, event: asyncio.Event) -> None:
    wake.clear()
    event.set()


async def _run(child: Child) -> None:
    link = Link(child)
    loop = asyncio.get_running_loop()
    loop.add_reader(child.board.frame_wake.fileno(), _woken, child.board.frame_wake, link.framed)
    loop.add_reader(child.board.order_wake.fileno(), _woken, child.board.order_wake, link.ordered)
    connections = asyncio.create_task(link.connections())
    beat = asyncio.create_task(link.beat())
    done, _ = await asyncio.wait({connections, beat}, return_when=asyncio.FIRST_COMPLETED)
    for task in (connections, beat):
        if task not in done:
            task.cancel()
    for task in done:
        task.result()


def run(child: Child) -> None:
    """Entry of the process."""
    keep_freed_memory()
    asyncio.run(_run(child))
