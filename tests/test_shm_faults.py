"""One process: a writer that ends in mid-write, a second writer, readers that are overtaken.

Fences are where a reader or a writer can be caught between two steps, so the tests step in there.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from shm import Owner, Ring, RingSpec, ShmError, TornRead
from shm.reader import MAX_TRIES

SLOTS = 4
DTYPE = np.dtype([("t_ns", "i8"), ("q", "f8", (14,))], align=True)


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring.create(Owner.current(), RingSpec("faults", DTYPE, SLOTS, 1))
    yield ring
    ring.close()
    ring.unlink()


def record_of(ring: Ring, t_ns: int) -> np.ndarray:
    record = ring.blank()
    record["t_ns"] = t_ns
    record["q"] = t_ns
    return record


def fill(ring: Ring, n: int) -> None:
    writer = ring.writer()
    for number in range(ring.count + 1, ring.count + n + 1):
        writer.write(record_of(ring, number))


def test_a_second_writer_is_noticed(ring: Ring) -> None:
    first, second = ring.writer(), ring.writer()
    first.write(ring.blank())
    with pytest.raises(ShmError, match=r"second writer: its count is 1, this writer ended at 0"):
        second.write(ring.blank())


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_writer_that_ends_at_any_step_costs_one_slot(ring: Ring, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The writer passes three fences: after the odd word, after the copy, after the even word."""
    fill(ring, 6)
    reader, out = ring.reader(), ring.blank()
    reader.newest(out)
    passed = 0

    def dying_fence() -> None:
        nonlocal passed
        passed += 1
        if passed == step:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("shm.writer.fence", dying_fence)
        with pytest.raises(SystemExit):
            ring.writer().write(record_of(ring, 7))

    assert reader.newest(out) == 6
    assert out["t_ns"] == 6
    assert [n for n in range(1, 10) if reader.at(n, out)] == ([4, 5, 6] if step < 3 else [4, 5, 6, 7])

    successor = ring.writer()
    finished = 7 if step == 3 else 6  # a record that readers by number could see keeps its number
    assert ring.count == finished
    assert successor.write(record_of(ring, 100)) == finished + 1
    assert reader.newest(out) == finished + 1
    assert out["t_ns"] == 100


def overtaking(ring: Ring, laps: int) -> Callable[[], None]:
    """A fence during which the writer goes once around the ring, in the first `laps` tries to read."""
    writer, calls = ring.writer(), 0

    def fence() -> None:
        nonlocal calls
        calls += 1
        if calls % 2 == 1 and calls < 2 * laps:
            for _ in range(SLOTS):
                writer.write(record_of(ring, ring.count + 1))

    return fence


def test_a_reader_that_is_overtaken_tries_again(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ring, 1)
    reader, out = ring.reader(), ring.blank()
    monkeypatch.setattr("shm.reader.fence", overtaking(ring, laps=3))
    assert reader.newest(out) == 1 + 3 * SLOTS
    assert out["t_ns"] == 1 + 3 * SLOTS


def test_a_reader_that_is_always_overtaken_gives_up(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ring, 1)
    reader, out = ring.reader(), ring.blank()
    monkeypatch.setattr("shm.reader.fence", overtaking(ring, laps=10**9))
    with pytest.raises(TornRead, match=f"in {MAX_TRIES} tries.*more than {SLOTS} slots"):
        reader.newest(out)
    with pytest.raises(TornRead):
        reader.next(out)


def test_next_counts_a_record_overwritten_while_it_was_copied(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, out = ring.reader(), ring.blank()
    fill(ring, 2)
    monkeypatch.setattr("shm.reader.fence", overtaking(ring, laps=1))
    assert reader.next(out) == 3  # of 1..6, 1 was overwritten in mid-copy and 2 meanwhile
    assert reader.dropped == 2


def test_at_refuses_a_record_overwritten_while_it_was_copied(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ring, 1)
    reader = ring.reader()
    monkeypatch.setattr("shm.reader.fence", overtaking(ring, laps=1))
    assert not reader.at(1, ring.blank())
