"""The writing end of a ring: one process, one thread. Never waits for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from shm.errors import ShmError
from shm.fence import fence
from shm.segment import Segment
from shm.spec import WORD_B, WORD_COUNT, WORD_SLOT_0


class Writer:
    """Numbers its records 1, 2, ...; goes on where a writer before it ended or was killed."""

    def __init__(self, segment: Segment) -> None:
        self._spec = segment.spec
        self._words = segment.words
        self._slots = segment.slots
        self._records = segment.records
        self._stride = segment.spec.stride_b // WORD_B
        self._source: NDArray[np.void] | None = None  # the last record written and its bytes
        self._source_bytes = memoryview(b"")
        self._filling = False
        self._number = self._words[WORD_COUNT]
        if self._words[self._sequence_word(self._number + 1)] == 2 * (self._number + 1):
            # the writer before was killed between finishing a record and counting it; `at` may have shown it
            self._number += 1
            self._words[WORD_COUNT] = self._number

    def write(self, record: NDArray[np.void]) -> int:
        """Publish a copy of a 0-d record of the ring's dtype; return its number."""
        if record is not self._source:
            self._source_bytes = self._spec.bytes_of(record)
            self._source = record
        slot = self._begin()
        self._slots[slot][:] = self._source_bytes
        return self._publish()

    @contextmanager
    def slot(self) -> Iterator[NDArray[np.void]]:
        """`with writer.slot() as record:` fill the next slot in place; published unless an exception ends it.

        The record still holds what was in that slot before. Do not use it afterwards: a later record gets the
        same memory.
        """
        slot = self._begin()
        self._filling = True
        try:
            yield self._records[slot]
        finally:
            self._filling = False
        self._publish()

    def _sequence_word(self, number: int) -> int:
        return WORD_SLOT_0 + number % self._spec.slots * self._stride

    def _begin(self) -> int:
        """Mark the next record's slot as being written and return it."""
        if self._filling:
            raise ShmError(f"ring {self._spec.name}: the record from slot() is not finished yet")
        words = self._words
        if words[WORD_COUNT] != self._number:
            raise ShmError(
                f"ring {self._spec.name} has a second writer: its count is {words[WORD_COUNT]}, "
                f"this writer ended at {self._number}; end one of them"
            )
        number = self._number + 1
        words[self._sequence_word(number)] = 2 * number - 1
        fence()
        return number % self._spec.slots

    def _publish(self) -> int:
        number = self._number + 1
        fence()
        self._words[self._sequence_word(number)] = 2 * number
        fence()
        self._words[WORD_COUNT] = number
        self._number = number
        return number
