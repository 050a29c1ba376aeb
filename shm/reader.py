"""A reading end of a ring: any number of them, each of one thread. Never delays the writer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shm.errors import TornRead
from shm.fence import fence
from shm.segment import Segment
from shm.spec import WORD_B, WORD_COUNT, WORD_SLOT_0

MAX_TRIES = 100
"""A try fails only if the writer goes around the ring within one copy: never, at the rates of a robot."""


class Reader:
    """Copies records out; has a position, and `dropped` counts what was overwritten before `next` came to it.

    `out` is always a 0-d array of the ring's dtype (Ring.blank()). Use the same one again and again: another
    costs a microsecond of checks. What it holds is undefined unless the call succeeded.
    """

    def __init__(self, segment: Segment) -> None:
        self.dropped = 0
        self._spec = segment.spec
        self._n_slots = segment.spec.slots
        self._words = segment.words
        self._slots = segment.slots
        self._stride = segment.spec.stride_b // WORD_B
        self._out: NDArray[np.void] | None = None  # where the last read went, and its pieces
        self._fields: tuple[str, ...] | None = None
        self._cuts: list[tuple[slice, memoryview]] = []
        count = self._words[WORD_COUNT]
        self._next = max(1, count - self._n_slots + 1)
        if self._next <= count and not self._is_there(self._next):
            self._next += 1  # its slot was taken again before this reader existed: not a drop

    def newest(self, out: NDArray[np.void], fields: tuple[str, ...] | None = None) -> int:
        """Copy the newest finished record, or these fields of it; return its number, 0 if there is none.

        `next` goes on behind it; what this skips is no drop. Raises TornRead.
        """
        if out is not self._out or fields != self._fields:
            self._aim(out, fields)
        words = self._words
        for _ in range(MAX_TRIES):
            number = words[WORD_COUNT]
            if number == 0:
                return 0
            if self._copy(number):
                self._next = number + 1
                return number
        raise self._torn()

    def next(self, out: NDArray[np.void]) -> int:
        """Copy the oldest unread record that is still there and return its number; 0: nothing unread.

        Raises TornRead.
        """
        if out is not self._out or self._fields is not None:
            self._aim(out, None)
        for _ in range(MAX_TRIES):
            newest = self._words[WORD_COUNT]
            if self._next > newest:
                return 0
            oldest = newest - self._n_slots + 1
            if self._next < oldest:
                self.dropped += oldest - self._next
                self._next = oldest
            number = self._next
            self._next += 1
            if self._copy(number):
                return number
            self.dropped += 1
        raise self._torn()

    def at(self, number: int, out: NDArray[np.void]) -> bool:
        """Copy the record of that number; False if it is overwritten or not yet written."""
        if out is not self._out or self._fields is not None:
            self._aim(out, None)
        return number > 0 and self._copy(number)

    def _is_there(self, number: int) -> bool:
        sequence = WORD_SLOT_0 + number % self._n_slots * self._stride
        return self._words[sequence] == 2 * number

    def _copy(self, number: int) -> bool:
        slot = number % self._n_slots
        sequence = WORD_SLOT_0 + slot * self._stride
        words = self._words
        if words[sequence] != 2 * number:
            return False
        fence()
        source = self._slots[slot]
        for cut, target in self._cuts:
            target[:] = source[cut]
        fence()
        return words[sequence] == 2 * number

    def _aim(self, out: NDArray[np.void], fields: tuple[str, ...] | None) -> None:
        """Find the bytes that are to be copied, once for a given out and fields."""
        target = self._spec.bytes_of(out)
        if fields is None:
            cuts = [slice(0, len(target))]
        else:
            cuts = [self._field(name) for name in fields]
        self._cuts = [(cut, target[cut]) for cut in cuts]
        self._out, self._fields = out, fields

    def _field(self, name: str) -> slice:
        fields = self._spec.dtype.fields
        if fields is None or name not in fields:
            raise ValueError(f"ring {self._spec.name} has no field {name!r}; it has {self._spec.dtype.names}")
        dtype, offset = fields[name][:2]
        return slice(offset, offset + dtype.itemsize)

    def _torn(self) -> TornRead:
        return TornRead(
            f"ring {self._spec.name}: overtaken by the writer in {MAX_TRIES} tries, newest is "
            f"{self._words[WORD_COUNT]}; give the ring more than {self._n_slots} slots or write less often"
        )
