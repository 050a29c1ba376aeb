"""A ring of records in shared memory: one writer, any number of readers, no locks.

With 4 slots it is a cell (its newest value is what counts), with more a frame ring or a log. The supervisor
creates every ring; the children that it spawns attach by the handle they are given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shm.owner import Owner
from shm.reader import Reader
from shm.segment import Segment
from shm.spec import WORD_COUNT, RingSpec
from shm.writer import Writer


@dataclass(frozen=True, slots=True)
class RingHandle:
    """What a child needs to attach; a picklable argument of multiprocessing.Process."""

    segment: str
    owner_uid: int
    spec: RingSpec


class Ring:
    """One mapped ring. Make it with `create` (supervisor) or `attach` (its children)."""

    def __init__(self, segment: Segment, handle: RingHandle) -> None:
        self.handle = handle
        self._segment = segment

    @classmethod
    def create(cls, owner: Owner, spec: RingSpec) -> Ring:
        """Make the ring, its memory set aside. Raises ShmError if it exists or /dev/shm is too small."""
        segment = Segment.create(owner, spec)
        return cls(segment, RingHandle(segment.name, owner.uid, spec))

    @classmethod
    def attach(cls, handle: RingHandle) -> Ring:
        """Map the ring in a child of its creator. Raises ShmError if it is gone or not as the handle says."""
        return cls(Segment.attach(handle.segment, handle.owner_uid, handle.spec), handle)

    @property
    def spec(self) -> RingSpec:
        """What the ring holds."""
        return self.handle.spec

    @property
    def count(self) -> int:
        """The number of the newest finished record, 0 if there is none."""
        return self._segment.words[WORD_COUNT]

    def writer(self) -> Writer:
        """The ring's one writer. There must be no other alive; a dead one's numbering goes on."""
        return Writer(self._segment)

    def reader(self) -> Reader:
        """A new reader; its `next` starts with the oldest record there is."""
        return Reader(self._segment)

    def blank(self) -> NDArray[np.void]:
        """A zeroed record in private memory, to fill for `write` or to read into."""
        return np.zeros((), self.spec.dtype)

    def close(self) -> None:
        """Unmap; this ring's readers and writers then raise ValueError."""
        self._segment.close()

    def unlink(self) -> None:
        """Remove the segment's name. Raises ShmError in any process but the creator."""
        self._segment.unlink()
