"""What happened in the daemon, told to whoever listens: state changes, faults, commands.

Runs in the supervisor's event loop and nowhere else. Publishing never waits: each reader has a bounded
queue, and a reader that lets it fill up is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

Event = dict[str, Any]
"""t_ns: CLOCK_MONOTONIC. time: wall time, ISO 8601, UTC. kind: one word. text: one sentence. More by kind."""

KEPT = 200
QUEUE = 256
"""Events a reader may lie behind: minutes of a busy run, and less than 100 kB."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class EventBus:
    """Keeps the newest events and hands each new one to every subscription."""

    def __init__(
        self,
        *,
        kept: int = KEPT,
        queue: int = QUEUE,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._kept: deque[Event] = deque(maxlen=kept)
        self._queue = queue
        self._monotonic_ns = monotonic_ns
        self._now = now
        self._subscriptions: set[Subscription] = set()

    @property
    def readers(self) -> int:
        """How many subscriptions are open."""
        return len(self._subscriptions)

    def publish(self, kind: str, text: str, **fields: Any) -> Event:
        """Tell everyone, without waiting. Fields are JSON types, added to the four that each event has."""
        event: Event = dict(
            t_ns=self._monotonic_ns(),
            time=self._now().isoformat(timespec="milliseconds"),
            kind=kind,
            text=text,
            **fields,
        )
        self._kept.append(event)
        for subscription in tuple(self._subscriptions):
            subscription.offer(event)
        return event

    def subscribe(self) -> Subscription:
        """A reader of every event from the moment its `async with` is entered."""
        return Subscription(self, self._queue)

    def enter(self, subscription: Subscription) -> tuple[Event, ...]:
        """Enrol a subscription and return the kept events: none is missed or doubled between the two."""
        self._subscriptions.add(subscription)
        return tuple(self._kept)

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscription; unknown ones are ignored."""
        self._subscriptions.discard(subscription)


class Subscription:
    """`async with bus.subscribe() as events:` then `events.kept` for the past, `async for` for the rest."""

    def __init__(self, bus: EventBus, queue: int) -> None:
        self.kept: tuple[Event, ...] = ()
        self.on_drop: Callable[[], None] | None = None
        self._bus = bus
        self._bound = queue
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Subscription:
        self.kept = self._bus.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()

    def offer(self, event: Event) -> None:
        """Queue one event; a full queue ends the subscription and calls `on_drop`."""
        if len(self._waiting) < self._bound:
            self._waiting.append(event)
            self._wake.set()
            return
        self._waiting.clear()
        self.close()
        if self.on_drop is not None:
            self.on_drop()

    def close(self) -> None:
        """Take no more events; the iteration ends after those already queued."""
        self._closed = True
        self._bus.leave(self)
        self._wake.set()
