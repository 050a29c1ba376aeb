"""One connection to the policy server: what is asked, when, and whether the answer is to be believed.

One request is under way at a time; the next one leaves on a fresh frame once the last answer came and enough of its
chunk is past (`pacing`), while the arms go on executing. Where the server names the request that it answers, one that
is overdue is not waited for: another is sent, and whichever is answered first is used. What the server sends is read
when it comes, whatever is being waited for: an answer has the instant of its arrival, and the reason of an end is
heard. Whatever is wrong ends the session, so a late reply can never be taken for a new one.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from controller.answers import Acceptance, AnswerError, actions_from
from controller.faults import FaultCode
from controller.jpeg import encode_jpeg
from controller.link_memory import Answer, LinkMemory, Order
from controller.observation import Observation
from controller.observer import Observer
from controller.pacing import Followed
from controller.run_options import Seam
from controller.server_terms import KNOWN_EXTENSIONS, SessionError, check_server
from controller.timeline import Actions
from controller.under_way import Asked, NotAsked, UnderWay
from policy_server.protocol import (
    ENVIRONMENT_STATE,
    OBSERVATION_AGE,
    PLAYBACK,
    REQUEST_ID,
    RTC,
    ProtocolError,
    ServerInfo,
    pack,
    unpack,
)

SERVER_TIMES = {"queue_ms": "queue_ms", "inference_ms": "infer_ms", "server_ms": "total_ms"}
"""Of a reply's server_timing; a stock server tells infer_ms only."""


class Wakes:
    """What a session waits for: a new frame, a new order."""

    def __init__(self) -> None:
        self.framed, self.ordered = asyncio.Event(), asyncio.Event()


class Session:
    """One connection to the policy server."""

    def __init__(self, memory: LinkMemory, wakes: Wakes, socket: ClientConnection, info: ServerInfo) -> None:
        self._memory, self._wakes, self._socket, self._info = memory, wakes, socket, info
        self._config = memory.child.config
        self.cameras, self._rate_hz = check_server(info, self._config)
        policy = self._config.policy
        encode = partial(encode_jpeg, quality=policy.jpeg_quality) if policy.image_encoding == "jpeg" else None
        self._observer = Observer(memory.child, self.cameras, ENVIRONMENT_STATE in info.extensions, encode)
        self._acceptance = Acceptance.of(self._config)
        self._under_way = UnderWay(
            REQUEST_ID in info.extensions, policy.request_timeout_s, policy.first_answer_timeout_s
        )
        self._came = asyncio.Event()
        """An answer."""

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
        reading, asking = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._ask())
        try:
            await asyncio.wait({reading, asking}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asking
            await reading
        finally:
            for task in (reading, asking):
                task.cancel()
            await asyncio.gather(reading, asking, return_exceptions=True)
            del reading, asking, task  # their exception keeps this frame; kept by it, only the collector freed both

    async def _read(self) -> None:
        """Take what the server sends. Raises SessionError or, at the end of the connection, ConnectionClosed."""
        while True:
            reply = await self._socket.recv()
            t_received_ns = time.monotonic_ns()
            if isinstance(reply, str):
                last = reply.strip().splitlines()[-1:] or ["(no text)"]
                raise SessionError(FaultCode.POLICY_REFUSED, f"the server answered: {last[0][:160]}")
            self._take(reply, t_received_ns)
            self._came.set()

    async def _ask(self) -> None:
        """Send requests as orders want them. Returns where the connection has ended: the reader knows why.

        Raises SessionError where no answer comes.
        """
        memory, under_way = self._memory, self._under_way
        with suppress(ConnectionClosed):
            while True:
                motion_id, now_ns = memory.order().motion_id, time.monotonic_ns()
                patience_s = under_way.patience_s(now_ns, memory.delay.overdue_s)
                if patience_s > 0.0:
                    await _wait(self._came, patience_s)
                elif under_way.lost(now_ns, motion_id):
                    raise SessionError(FaultCode.POLICY_LOST, f"no answer within {under_way.timeout_s:g} s")
                elif motion_id == 0:
                    await _wait(self._wakes.ordered, 0.5)
                elif (order := await self._turn(motion_id)) is not None:
                    await self._send(order)

    async def _turn(self, motion_id: int) -> Order | None:
        """Wait until the next request is due and every camera has a frame not sent before, the last of them just come.

        The order then in force; None when it is about another motion.
        """
        cameras, arrived, begin_s = self._config.cameras, True, time.monotonic()
        while True:
            order, now_ns = self._memory.order(), time.monotonic_ns()
            if order.motion_id != motion_id:
                return None
            waiting = self._observer.waiting_for()
            if not waiting and arrived:
                if self._memory.pacing.due(now_ns, self._memory.plan(motion_id), order.execution_horizon):
                    return order
                begin_s = time.monotonic()
            waiting = waiting or list(self.cameras)
            bound_s = min(cameras[name].max_age_s for name in waiting)
            age_s = time.monotonic() - begin_s
            if age_s > bound_s:
                self._memory.trip(
                    FaultCode.CAMERA_STALE,
                    f"no fresh frame from {', '.join(waiting)} for {age_s:.2f} s (bound {bound_s:.2f} s)",
                    motion_id,
                )
                begin_s = time.monotonic()
            arrived = await _wait(self._wakes.framed, 0.05)

    async def _send(self, order: Order) -> None:
        """Put a request on its way, or fault where the frames do not belong together."""
        memory, motion_id = self._memory, order.motion_id
        t_asked_ns = time.monotonic_ns()
        observation = self._observer.observe(order.prompt)
        # cameras that take turns at a low rate are as far apart as their period, and none of them is late
        bound_s = max(self._config.policy.max_observation_spread_s, 1.5 / observation.slowest_hz)
        if observation.spread_s > bound_s:
            text = f"exposures lie {observation.spread_s:.3f} s apart (bound {bound_s:.3f} s)"
            memory.trip(FaultCode.OBSERVATION_SPREAD, text, motion_id)
            return
        chunk_id, plan = memory.next_chunk_id(), memory.plan(motion_id)
        message = pack(observation.request | self._extras(chunk_id, observation, plan, order.seam))
        t_sent_ns = time.monotonic_ns()
        memory.child.status["requests"] += 1
        memory.child.status["build_ms"] = (t_sent_ns - t_asked_ns) * 1e-6
        playing, first = plan is not None and plan.playing, self._under_way.first
        self._under_way.add(Asked(chunk_id, motion_id, observation, t_asked_ns, t_sent_ns, playing, first))
        timeout_s = self._under_way.timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.send(message)
        except TimeoutError:
            text = f"a request could not be sent within {timeout_s:g} s: the server does not read"
            raise SessionError(FaultCode.POLICY_LOST, text) from None

    def _take(self, reply: bytes, t_received_ns: int) -> None:
        """Check an answer and hand it on, if its motion still goes on. Raises SessionError."""
        memory, status = self._memory, self._memory.child.status
        answer, asked = self._decode(reply, t_received_ns)
        status["answers"] += 1
        times_ms = _server_times_ms(answer)
        status["inference_ms"] = times_ms["inference_ms"]
        try:
            actions = actions_from(answer, self._acceptance, self._rate_hz)
        except AnswerError as error:
            raise SessionError(FaultCode.ANSWER_INVALID, str(error)) from None
        observation, motion_id = asked.observation, asked.motion_id
        wanted = memory.order().motion_id == motion_id  # not stopped meanwhile
        if wanted:
            memory.deliver(
                Answer(
                    asked.chunk_id,
                    motion_id,
                    observation,
                    asked.t_asked_ns,
                    asked.t_sent_ns,
                    t_received_ns,
                    times_ms,
                    self._rate_hz,
                    actions,
                )
            )
        # what follows would only make the arms wait; one more answer that is the last one to the bit does no harm
        if not asked.first:  # a server may compile its model for the first request of a connection
            memory.note_delay(observation, t_received_ns)
        if wanted:
            self._look_whether_stuck(asked, answer["actions"])

    def _look_whether_stuck(self, asked: Asked, actions: Actions) -> None:
        memory = self._memory
        state = asked.observation.request["state"]
        stuck = memory.stuck.answered(asked.motion_id, actions, state, asked.playing)
        memory.child.status["same_answers"] = memory.stuck.same
        if stuck is not None:
            memory.trip(*stuck, asked.motion_id)

    def _extras(self, chunk_id: int, observation: Observation, plan: Followed | None, seam: Seam) -> dict[str, Any]:
        """What a request carries beyond the observation, of what this server offers to take."""
        offered, t_ns = self._info.extensions, observation.t_observation_ns
        extras: dict[str, Any] = {}
        if self._under_way.named:
            extras[REQUEST_ID] = chunk_id
        if PLAYBACK in offered:
            extras[PLAYBACK] = max(plan.playback.at(t_ns), 0) * 1e-9 if plan is not None else 0.0
        if RTC in offered and seam is Seam.RTC and plan is not None:
            rest = self._memory.delivered.remainder(
                plan, t_ns, self._memory.delay.seconds, self._info.action_horizon
            )
            if rest is not None:
                extras[RTC] = {"actions": rest.actions, "delay_steps": rest.delay_steps}
        if OBSERVATION_AGE in offered:
            extras[OBSERVATION_AGE] = (time.monotonic_ns() - t_ns) * 1e-9
        return extras

    def _decode(self, reply: bytes, t_received_ns: int) -> tuple[dict[str, Any], Asked]:
        """The answer and the request that it belongs to."""
        try:
            answer = unpack(reply)
        except ProtocolError as error:
            raise SessionError(FaultCode.ANSWER_INVALID, f"the answer cannot be read: {error}") from None
        if not isinstance(answer, dict):
            kind = type(answer).__name__
            raise SessionError(FaultCode.ANSWER_INVALID, f"the answer is a {kind}, must be a map")
        try:
            return answer, self._under_way.answered(answer.get(REQUEST_ID), t_received_ns)
        except NotAsked as error:
            raise SessionError(FaultCode.ANSWER_INVALID, str(error)) from None


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Until the event (True) or the timeout. Clears the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    happened = event.is_set()
    event.clear()
    return happened


def _ascii(text: str | None) -> str | None:
    """A server's name as it fits the status record, whatever it says."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:80]) if text else None


def _server_times_ms(answer: dict[str, Any]) -> dict[str, float]:
    """What the server told of its own part, as a trace names it; nan: not told."""
    timing = answer.get("server_timing")
    told = timing if isinstance(timing, dict) else {}
    values = {name: told.get(key) for name, key in SERVER_TIMES.items()}
    return {name: float(value) if isinstance(value, int | float) else math.nan for name, value in values.items()}
