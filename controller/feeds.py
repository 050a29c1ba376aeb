"""The rings that the recorder process drains, with the last seconds of each at hand.

Nobody waits for it: what was overwritten before it came by is counted as dropped. A recorder that was started again
begins with the oldest rows that the rings still hold.
"""

from __future__ import annotations

from collections import deque

from controller.board import HISTORY_S
from controller.child import Child
from controller.layout import text

KEPT_NS = round(2 * HISTORY_S * 1e9)
"""A fault's dump is whole also when the recorder comes as late as the rings allow."""

EVENTS_KEPT = 256

FEEDS = {
    "ticks": ("tick", "t_ns"),
    "joints": ("joints", "t_command_ns"),
    "handed": ("handed", "t_handed_ns"),
    "chunks": ("chunk", "t_received_ns"),
}
"""Name of each of recording.ROWS -> its ring and the field that tells when a row was written.

Of joints not the time of the reading: that is the driver's, and may stand still or run backwards."""

Event = tuple[int, str, str]
"""t_ns, kind, text."""


class Feed:
    """One ring, drained in order."""

    def __init__(self, child: Child, ring: str, time_field: str) -> None:
        opened = child.open(ring)
        self._reader = opened.reader()
        self._record = opened.blank()
        self._time_field = time_field
        self._recent: deque[tuple[int, bytes]] = deque()

    @property
    def dropped(self) -> int:
        return self._reader.dropped

    def drain(self) -> bytes:
        """All unread rows."""
        rows = []
        while self._reader.next(self._record):
            rows.append(self._record.tobytes())
            self._recent.append((int(self._record[self._time_field]), rows[-1]))
        while self._recent and self._recent[0][0] < self._recent[-1][0] - KEPT_NS:
            self._recent.popleft()
        return b"".join(rows)

    def between(self, begin_ns: int, end_ns: int) -> bytes:
        """The rows already drained of these instants, both included."""
        return b"".join(row for t_ns, row in self._recent if begin_ns <= t_ns <= end_ns)


class Feeds:
    """All of them, and the events."""

    def __init__(self, child: Child) -> None:
        self._feeds = {name: Feed(child, ring, field) for name, (ring, field) in FEEDS.items()}
        ring = child.open("event")
        self._events, self._event = ring.reader(), ring.blank()
        self._recent_events: deque[Event] = deque(maxlen=EVENTS_KEPT)

    @property
    def dropped(self) -> int:
        """Rows lost since this process began."""
        return sum(feed.dropped for feed in self._feeds.values())

    def drain(self) -> tuple[dict[str, bytes], list[Event]]:
        """Everything unread: rows by name, and events."""
        events = []
        while self._events.next(self._event):
            events.append((int(self._event["t_ns"]), text(self._event["kind"]), text(self._event["text"])))
        self._recent_events.extend(events)
        return {name: feed.drain() for name, feed in self._feeds.items()}, events

    def between(self, begin_ns: int, end_ns: int) -> tuple[dict[str, bytes], list[Event]]:
        """What was already drained of these instants, both included."""
        rows = {name: feed.between(begin_ns, end_ns) for name, feed in self._feeds.items()}
        return rows, [event for event in self._recent_events if begin_ns <= event[0] <= end_ns]
