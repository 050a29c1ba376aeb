"""What a ring holds, and where each byte of it lies. Pure arithmetic; README.md draws the same picture.

Word indices count 8-byte words from the start of the segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE_B = 64
"""A cache line: every slot and every record starts on one."""

WORD_B = 8
PROTOCOL = 1
"""Number of the protocol in README.md; raise it when a byte of the header or of a slot moves."""

MAGIC = int.from_bytes(b"pi0cring", "little")

(
    WORD_MAGIC,
    WORD_PROTOCOL,
    WORD_OWNER,
    WORD_VERSION,
    WORD_DIGEST,
    WORD_SLOTS,
    WORD_STRIDE,
    WORD_SIZE,
    WORD_COUNT,
) = range(9)
"""The header's words. WORD_COUNT is alone on the second line: it is the one that changes."""

HEADER_B = 2 * LINE_B
WORD_SLOT_0 = HEADER_B // WORD_B
"""The sequence word of slot 0; slot i's lies i strides further, its record one line after it."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class RingSpec:
    """One ring: `slots` records of `dtype`, whose meaning has the number `version`.

    `slots` records are kept, the oldest of which the writer may be overwriting. Raises ValueError.
    """

    name: str
    dtype: np.dtype[Any]
    slots: int
    version: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"ring name {self.name!r} must match {_NAME.pattern}")
        if not self.dtype.names or self.dtype.hasobject:
            raise ValueError(f"ring {self.name}: {self.dtype} must be a structured dtype without objects")
        if self.slots < 2:
            raise ValueError(f"ring {self.name}: slots={self.slots} must be 2 or more, one is being written")
        if not 0 <= self.version < 2**64:
            raise ValueError(f"ring {self.name}: version={self.version} outside 0..2**64-1")

    @property
    def digest(self) -> int:
        """64 bits that change with any field's name, type, shape or offset."""
        return int.from_bytes(blake2b(repr(self.dtype).encode(), digest_size=8).digest(), "little")

    @property
    def stride_b(self) -> int:
        """Bytes from one slot to the next: a line for the sequence word, then the record in whole lines."""
        return LINE_B + -(-self.dtype.itemsize // LINE_B) * LINE_B

    @property
    def size_b(self) -> int:
        """Bytes of the whole segment."""
        return HEADER_B + self.slots * self.stride_b

    def record_b(self, slot: int) -> int:
        """Offset of a slot's record."""
        return HEADER_B + slot * self.stride_b + LINE_B

    def bytes_of(self, record: NDArray[np.void]) -> memoryview:
        """A record's flat bytes: 600 of them copy in 0.1 us, a structured assignment takes 2 us and more.

        Raises TypeError unless the record is a 0-d array of this dtype.
        """
        if not isinstance(record, np.ndarray):
            raise TypeError(f"ring {self.name}: a record is a 0-d array (Ring.blank()), not {type(record)}")
        if record.shape != () or record.dtype != self.dtype:
            raise TypeError(
                f"ring {self.name}: a record has shape () and {self.dtype} (Ring.blank()), "
                f"not {record.shape} and {record.dtype}"
            )
        return record.reshape(1).view(np.uint8).data
