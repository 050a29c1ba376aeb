"""Who is served next: each client has one place in the line, and the newest of its requests waits there.

Runs in the policy server, on its event loop. Always holds: one request is in work at a time and at most one of each
client waits; clients are served in the order in which their waiting requests came, and a newer request takes over the
place of the one that it replaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Place(Generic[T]):
    """One client's place in the line. All places of a line share one `turn`; make them inside the event loop."""

    def __init__(self, turn: asyncio.Lock) -> None:
        self._turn = turn  # a lock's waiters get it in the order in which they came
        self._waiting: T | None = None
        self._changed = asyncio.Event()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once no more requests are wanted or will come."""
        self._reason: Exception | None = None

    def put(self, request: T) -> bool:
        """Let a request wait. True if it replaced one, which then is never served."""
        replaced = self._waiting is not None
        self._waiting = request
        self._changed.set()
        return replaced

    def close(self, reason: Exception) -> None:
        """Drop the waiting request; `serve` raises `reason`. The first reason counts."""
        if not self.closed.done():
            self._reason = reason
            self.closed.set_result(None)
        self._waiting = None
        self._changed.set()

    def reason(self) -> Exception:
        """What `close` was given; to be raised, once.

        An exception keeps the frames that it passes through, and they keep the client's connection and messages, and
        this place: were it still held here, only the garbage collector would ever free them.
        """
        reason, self._reason = self._reason, None
        assert reason is not None, "not closed, or the reason was taken before"
        return reason

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[T]:
        """Wait for a request and for its turn, which lasts as long as the context. Raises what `close` was given."""
        await self._changed.wait()
        async with self._turn:
            if self.closed.done():
                raise self.reason()
            request, self._waiting = self._waiting, None
            self._changed.clear()
            assert request is not None  # the event is set by put and close only
            yield request
