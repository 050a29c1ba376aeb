"""One ring's shared memory: made by the supervisor, attached by its children, checked before any use.

Only the process that created a segment may unlink it. Attach in children spawned by that process: they share
its resource tracker. Before Python 3.13 a tracker of their own would remove the segment when they exit.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shm.errors import ShmError
from shm.owner import Owner
from shm.spec import (
    HEADER_B,
    LINE_B,
    MAGIC,
    PROTOCOL,
    WORD_COUNT,
    WORD_DIGEST,
    WORD_MAGIC,
    WORD_OWNER,
    WORD_PROTOCOL,
    WORD_SIZE,
    WORD_SLOTS,
    WORD_STRIDE,
    WORD_VERSION,
    RingSpec,
)

SHM_DIR = Path("/dev/shm")
_PAGE_B = os.sysconf("SC_PAGE_SIZE")


class _Mapping(SharedMemory):
    """SharedMemory that only its creator can unlink and that lives as long as any view of it."""

    def __init__(self, name: str, *, created: bool, size_b: int = 0) -> None:
        self.created = created
        try:
            if sys.version_info >= (3, 13):
                super().__init__(name, create=created, size=size_b, track=created)
            else:
                super().__init__(name, create=created, size=size_b)
        except OSError:
            self.close()
            raise

    @property
    def memory(self) -> memoryview:
        """All bytes. Raises ValueError after close()."""
        if self.buf is None:
            raise ValueError(f"segment {self.name} is closed")
        return self.buf

    def unlink(self) -> None:
        # SharedMemory calls this when it cannot map what it has opened: another's segment must survive that
        if self.created:
            super().unlink()

    def __del__(self) -> None:
        # SharedMemory closes here, and complains on stderr about the views of a ring that was never closed
        pass


class Segment:
    """A mapped segment and the views that readers and writers use.

    words: the whole segment in 8-byte words. slots: every record as bytes. records: the same as 0-d arrays.
    """

    def __init__(self, mapping: _Mapping, spec: RingSpec) -> None:
        self.name = mapping.name
        self.spec = spec
        self._mapping = mapping
        size = spec.dtype.itemsize
        starts = [spec.record_b(slot) for slot in range(spec.slots)]
        self.words = mapping.memory.cast("Q")
        self.slots = [mapping.memory[start : start + size] for start in starts]
        # frombuffer keeps the mapping alive for as long as such a view is; ndarray(buffer=...) does not
        self.records: list[NDArray[np.void]] = [
            np.frombuffer(mapping.memory, spec.dtype, 1, start).reshape(()) for start in starts
        ]
        _touch(mapping.memory)

    @classmethod
    def create(cls, owner: Owner, spec: RingSpec) -> Segment:
        """Make and fill in a segment. Raises ShmError if the name is taken or /dev/shm too small."""
        name = owner.segment(spec.name)
        try:
            mapping = _Mapping(name, created=True, size_b=spec.size_b)
        except FileExistsError as error:
            raise ShmError(f"segment {name} exists: this process made ring {spec.name!r} before") from error
        except OSError as error:
            raise ShmError(f"segment {name} of {spec.size_b} bytes cannot be made: {error.strerror}") from error
        try:
            _reserve(name, spec.size_b)
        except BaseException:
            mapping.close()
            mapping.unlink()
            raise
        header = _header(owner.uid, spec)
        with mapping.memory.cast("Q") as words:
            for word, (_, value) in header.items():
                words[word] = value
        return cls(mapping, spec)

    @classmethod
    def attach(cls, name: str, owner_uid: int, spec: RingSpec) -> Segment:
        """Map an existing segment. Raises ShmError naming both values of the first thing that differs."""
        mapping = _open(name)
        try:
            _check(mapping, _header(owner_uid, spec))
        except ShmError:
            mapping.close()
            raise
        return cls(mapping, spec)

    def close(self) -> None:
        """Release the segment; its readers and writers then raise ValueError.

        While somebody holds a record from `slot()` the memory stays mapped; let it go and close again.
        """
        self.words.release()
        for view in self.slots:
            view.release()
        self.records.clear()
        with suppress(BufferError):
            self._mapping.close()

    def unlink(self) -> None:
        """Remove the name; mappings stay valid until closed. Raises ShmError unless created here."""
        if not self._mapping.created:
            raise ShmError(f"segment {self.name}: only its creator may unlink it")
        with suppress(FileNotFoundError):
            self._mapping.unlink()


def _open(name: str) -> _Mapping:
    try:
        size_b = (SHM_DIR / name).stat().st_size
        if size_b < HEADER_B:
            raise ShmError(f"segment {name} has {size_b} bytes, a header alone needs {HEADER_B}: not ours")
        return _Mapping(name, created=False)
    except FileNotFoundError as error:
        raise ShmError(f"segment {name} is gone: its owner has ended; end this child too") from error
    except OSError as error:
        raise ShmError(
            f"segment {name} of {size_b} bytes cannot be mapped ({error.strerror}): "
            "after mlockall the limit on locked memory (LimitMEMLOCK=) must cover it"
        ) from error


def _header(owner_uid: int, spec: RingSpec) -> dict[int, tuple[str, int]]:
    """Each header word with its name in messages and its value, in the order in which they are checked."""
    return {
        WORD_MAGIC: ("magic word", MAGIC),
        WORD_PROTOCOL: ("protocol", PROTOCOL),
        WORD_OWNER: ("owner uid", owner_uid),
        WORD_VERSION: ("layout version", spec.version),
        WORD_DIGEST: ("layout digest", spec.digest),
        WORD_SLOTS: ("number of slots", spec.slots),
        WORD_STRIDE: ("slot stride", spec.stride_b),
        WORD_SIZE: ("size", spec.size_b),
        WORD_COUNT: ("count", 0),
    }


def _check(mapping: _Mapping, expected: dict[int, tuple[str, int]]) -> None:
    with mapping.memory[:LINE_B].cast("Q") as words:
        for word, found in enumerate(words):
            what, value = expected[word]
            if found != value:
                raise ShmError(
                    f"segment {mapping.name}: {what} is {found:#x}, expected {value:#x}; "
                    "daemon and child must be of one installation and one start"
                )
    _, full_b = expected[WORD_SIZE]
    if mapping.size != full_b:
        raise ShmError(f"segment {mapping.name} has {mapping.size} bytes, expected {full_b}: cut from outside")


def _reserve(name: str, size_b: int) -> None:
    """Have the kernel set the pages aside: a full /dev/shm is an error here and no SIGBUS later."""
    path = SHM_DIR / name
    fd = os.open(path, os.O_RDWR)
    try:
        os.posix_fallocate(fd, 0, size_b)
    except OSError as error:
        free = os.statvfs(SHM_DIR)
        raise ShmError(
            f"segment {name} needs {size_b} bytes, {SHM_DIR} has {free.f_bavail * free.f_frsize} free "
            f"({error.strerror}): enlarge {SHM_DIR} or use fewer slots"
        ) from error
    finally:
        os.close(fd)


def _touch(buffer: memoryview) -> None:
    """Read one byte of every page: page faults happen here, at start, not in a tick."""
    np.frombuffer(buffer, np.uint8)[::_PAGE_B].max()
