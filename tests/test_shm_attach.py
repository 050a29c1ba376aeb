"""Making and attaching a segment: every way in which it can be the wrong one has its own message."""

import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from shm import Owner, Ring, RingSpec, ShmError
from shm.segment import SHM_DIR
from shm.spec import HEADER_B, LINE_B

DTYPE = np.dtype([("t_ns", "i8"), ("q", "f8", (14,))])
OTHER = np.dtype([("t_ns", "i8"), ("q", "f4", (28,))])  # of the same size
SPEC = RingSpec("attach", DTYPE, 4, 3)


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring.create(Owner.current(), SPEC)
    yield ring
    ring.close()
    ring.unlink()


def overwrite(ring: Ring, offset: int, data: bytes) -> None:
    with open(SHM_DIR / ring.handle.segment, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_both_ends_see_the_same_bytes(ring: Ring) -> None:
    attached, record, out = Ring.attach(ring.handle), ring.blank(), ring.blank()
    record["q"] = np.arange(14)
    ring.writer().write(record)
    assert attached.count == 1
    attached.reader().newest(out)
    assert out == record
    attached.close()


def test_the_segment_is_named_after_its_owner_and_private(ring: Ring) -> None:
    owner = Owner.current()
    assert ring.handle.segment == f"pi0c.{owner.pid}.{owner.start_ticks}.attach"
    assert (SHM_DIR / ring.handle.segment).stat().st_mode & 0o777 == 0o600


def test_the_whole_segment_has_pages_from_the_start(ring: Ring) -> None:
    status = (SHM_DIR / ring.handle.segment).stat()
    assert status.st_size == SPEC.size_b == HEADER_B + 4 * 192
    assert status.st_blocks * 512 >= SPEC.size_b


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 4}, "layout version is 0x3, expected 0x4"),
        ({"dtype": OTHER}, r"layout digest is 0x[0-9a-f]+, expected 0x[0-9a-f]+"),
        ({"slots": 5}, "number of slots is 0x4, expected 0x5"),
    ],
)
def test_another_layout_is_refused(ring: Ring, change: dict[str, object], message: str) -> None:
    with pytest.raises(ShmError, match=f"{ring.handle.segment}: {message}"):
        Ring.attach(replace(ring.handle, spec=replace(SPEC, **change)))


def test_another_owner_is_refused(ring: Ring) -> None:
    uid = ring.handle.owner_uid
    with pytest.raises(ShmError, match=f"owner uid is {uid:#x}, expected {uid ^ 1:#x}"):
        Ring.attach(replace(ring.handle, owner_uid=uid ^ 1))


def test_another_protocol_is_refused(ring: Ring) -> None:
    overwrite(ring, 8, (77).to_bytes(8, "little"))
    with pytest.raises(ShmError, match="protocol is 0x4d, expected 0x1"):
        Ring.attach(ring.handle)


def test_a_segment_of_another_program_is_refused(ring: Ring) -> None:
    overwrite(ring, 0, bytes(SPEC.size_b))
    with pytest.raises(ShmError, match="magic word is 0x0, expected 0x676e697263306970"):
        Ring.attach(ring.handle)


@pytest.mark.parametrize(
    ("size_b", "message"),
    [
        (0, "has 0 bytes, a header alone needs 128"),
        (HEADER_B - LINE_B, "has 64 bytes, a header alone needs 128"),
        (HEADER_B, f"has 128 bytes, expected {SPEC.size_b}: cut from outside"),
        (SPEC.size_b - 8, f"has {SPEC.size_b - 8} bytes, expected {SPEC.size_b}: cut from outside"),
    ],
)
def test_a_truncated_segment_is_refused(ring: Ring, size_b: int, message: str) -> None:
    os.truncate(SHM_DIR / ring.handle.segment, size_b)
    with pytest.raises(ShmError, match=message):
        Ring.attach(ring.handle)
    os.truncate(SHM_DIR / ring.handle.segment, SPEC.size_b)


def test_a_refused_attach_leaves_nothing_mapped(ring: Ring) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ShmError):
        Ring.attach(replace(ring.handle, owner_uid=0))
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_attach_that_cannot_map_leaves_the_segment_alone(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """SharedMemory itself would unlink it, and every later child would find it gone."""

    def refuse(fd: int, size_b: int) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(mmap, "mmap", refuse)
        with pytest.raises(ShmError, match=f"of {SPEC.size_b} bytes cannot be mapped .*LimitMEMLOCK"):
            Ring.attach(ring.handle)
    assert len(os.listdir("/proc/self/fd")) == before
    Ring.attach(ring.handle).close()


def test_a_segment_that_is_gone_is_named(ring: Ring) -> None:
    handle = replace(ring.handle, segment="pi0c.1.1.gone")
    with pytest.raises(ShmError, match=r"pi0c\.1\.1\.gone is gone: its owner has ended"):
        Ring.attach(handle)


def test_a_ring_cannot_be_made_twice(ring: Ring) -> None:
    with pytest.raises(ShmError, match=f"{ring.handle.segment} exists: this process made ring 'attach'"):
        Ring.create(Owner.current(), SPEC)
    Ring.attach(ring.handle).close()


def test_only_the_creator_may_unlink(ring: Ring) -> None:
    attached = Ring.attach(ring.handle)
    with pytest.raises(ShmError, match="only its creator may unlink"):
        attached.unlink()
    attached.close()
    Ring.attach(ring.handle).close()


def test_unlink_removes_the_name_at_once_and_the_memory_later() -> None:
    ring = Ring.create(Owner.current(), replace(SPEC, name="unlinked"))
    attached, out = Ring.attach(ring.handle), ring.blank()
    ring.unlink()
    with pytest.raises(ShmError, match="is gone"):
        Ring.attach(ring.handle)
    ring.writer().write(out)
    assert attached.reader().newest(out) == 1
    attached.close()
    ring.close()


def test_a_full_dev_shm_names_size_and_space_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, size_b: int) -> None:
        assert size_b == os.fstat(fd).st_size
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    spec = replace(SPEC, name="full")
    message = rf"needs {spec.size_b} bytes, /dev/shm has \d+ free \(No space left on device\)"
    for _ in range(2):  # the second try finds no leftover of the first
        with pytest.raises(ShmError, match=message):
            Ring.create(Owner.current(), spec)


def test_more_than_dev_shm_holds_is_an_error_and_no_sigbus() -> None:
    space = os.statvfs(SHM_DIR)
    total_b = space.f_blocks * space.f_frsize  # tmpfs refuses more than its total before it allocates anything
    dtype = np.dtype([("body", "u1", (2**20,))])
    spec = RingSpec("huge", dtype, total_b // dtype.itemsize + 1, 1)
    with pytest.raises(ShmError, match=f"needs {spec.size_b} bytes, /dev/shm has"):
        Ring.create(Owner.current(), spec)
