"""A ring against a list of what was published, under any order of calls that hypothesis finds."""

from contextlib import suppress

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shm import Owner, Ring, RingSpec
from shm.writer import Writer

DTYPE = np.dtype([("t_ns", "i8"), ("q", "f8", (14,))], align=True)


def record_of(ring: Ring, t_ns: int) -> np.ndarray:
    record = ring.blank()
    record["t_ns"] = t_ns
    record["q"] = t_ns
    return record


def abandon(writer: Writer) -> None:
    """Leave `slot` by an exception, half filled."""
    with suppress(KeyError), writer.slot() as record:
        record["t_ns"] = -1
        raise KeyError


class RingModel(RuleBasedStateMachine):
    """published: every value so far; number n is published[n - 1]."""

    @initialize(slots=st.integers(2, 5))
    def start(self, slots: int) -> None:
        self.ring = Ring.create(Owner.current(), RingSpec("model", DTYPE, slots, 1))
        self.writer, self.reader, self.out = self.ring.writer(), self.ring.reader(), self.ring.blank()
        self.slots = slots
        self.published: list[int] = []
        self.lost = 0  # number that the slot of an abandoned record held
        self.position = 1
        self.dropped = 0

    @rule(value=st.integers(0, 2**40), in_place=st.booleans())
    def write(self, value: int, in_place: bool) -> None:
        if in_place:
            with self.writer.slot() as record:
                record[...] = record_of(self.ring, value)
        else:
            assert self.writer.write(record_of(self.ring, value)) == len(self.published) + 1
        self.published.append(value)

    @rule(killed=st.booleans())
    def abandon(self, killed: bool) -> None:
        abandon(self.writer)
        self.lost = len(self.published) + 1 - self.slots
        if killed:
            self.writer = self.ring.writer()

    def alive(self) -> list[int]:
        oldest = max(1, len(self.published) - self.slots + 1)
        return [n for n in range(oldest, len(self.published) + 1) if n != self.lost]

    @rule()
    def newest(self) -> None:
        number = self.reader.newest(self.out)
        assert number == len(self.published)
        if number:
            assert self.out["t_ns"] == self.published[-1]
            self.position = number + 1

    @rule()
    def next(self) -> None:
        unread = [n for n in self.alive() if n >= self.position]
        number = self.reader.next(self.out)
        assert number == (unread[0] if unread else 0)
        if number:
            assert self.out["t_ns"] == self.published[number - 1]
            self.dropped += number - self.position
            self.position = number + 1
        assert self.reader.dropped == self.dropped

    @rule(back=st.integers(-2, 8))
    def at(self, back: int) -> None:
        number = len(self.published) - back
        found = self.reader.at(number, self.out)
        assert found == (number in self.alive())
        if found:
            assert self.out["t_ns"] == self.published[number - 1]

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "ring"):
            assert self.ring.count == len(self.published)

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            self.ring.close()
            self.ring.unlink()


TestRingModel = RingModel.TestCase
TestRingModel.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
