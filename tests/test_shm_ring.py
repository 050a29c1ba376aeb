"""One process: what the writer and the readers of a ring see of each other, and what they refuse."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from shm import Owner, Ring, RingSpec, ShmError
from shm.writer import Writer

DTYPE = np.dtype([("t_ns", "i8"), ("valid", "u1"), ("q", "f8", (14,)), ("tile", "u1", (3, 8, 8))], align=True)
SLOTS = 4


@pytest.fixture
def ring() -> Iterator[Ring]:
    ring = Ring.create(Owner.current(), RingSpec("ring", DTYPE, SLOTS, 1))
    yield ring
    ring.close()
    ring.unlink()


def record_of(ring: Ring, t_ns: int) -> np.ndarray:
    record = ring.blank()
    record["t_ns"] = t_ns
    record["q"] = t_ns
    record["tile"] = t_ns % 256
    return record


def fill(ring: Ring, n: int) -> None:
    writer = ring.writer()
    for number in range(ring.count + 1, ring.count + n + 1):
        writer.write(record_of(ring, number))


def abandon(writer: Writer) -> None:
    """Leave `slot` by an exception, half filled."""
    with suppress(KeyError), writer.slot() as record:
        record["t_ns"] = -1
        raise KeyError


def test_nothing_written_reads_as_zero_and_leaves_out_alone(ring: Ring) -> None:
    out = record_of(ring, 77)
    reader = ring.reader()
    assert (reader.newest(out), reader.next(out), ring.count) == (0, 0, 0)
    assert not reader.at(0, out)
    assert not reader.at(1, out)
    assert out["t_ns"] == 77


def test_a_record_comes_back_byte_for_byte(ring: Ring) -> None:
    record = record_of(ring, 5)
    record["valid"] = 1
    assert ring.writer().write(record) == 1
    out = ring.blank()
    assert ring.reader().newest(out) == 1
    assert out.tobytes() == record.tobytes()


def test_write_copies(ring: Ring) -> None:
    record = record_of(ring, 5)
    ring.writer().write(record)
    record["t_ns"] = 6
    out = ring.blank()
    ring.reader().newest(out)
    assert out["t_ns"] == 5


def test_write_follows_changes_of_the_same_record(ring: Ring) -> None:
    writer, reader, record, out = ring.writer(), ring.reader(), ring.blank(), ring.blank()
    for t_ns in (3, 4):
        record["t_ns"] = t_ns
        writer.write(record)
        reader.newest(out)
        assert out["t_ns"] == t_ns


def test_newest_of_many(ring: Ring) -> None:
    fill(ring, 3 * SLOTS + 1)
    out = ring.blank()
    assert ring.reader().newest(out) == ring.count == 3 * SLOTS + 1
    assert out["t_ns"] == 3 * SLOTS + 1


def test_newest_moves_the_position_and_is_no_drop(ring: Ring) -> None:
    reader, out = ring.reader(), ring.blank()
    fill(ring, 3)
    reader.newest(out)
    assert reader.next(out) == 0
    fill(ring, 1)
    assert reader.next(out) == 4
    assert reader.dropped == 0


def test_newest_copies_only_the_named_fields(ring: Ring) -> None:
    fill(ring, 9)
    reader, out = ring.reader(), record_of(ring, 200)
    assert reader.newest(out, fields=("t_ns", "tile")) == 9
    assert out["t_ns"] == 9
    assert (out["tile"] == 9).all()
    assert (out["q"] == 200).all()
    assert reader.newest(out) == 9
    assert (out["q"] == 9).all()


def test_next_after_a_partial_newest_copies_everything(ring: Ring) -> None:
    reader, out = ring.reader(), ring.blank()
    fill(ring, 1)
    reader.newest(out, fields=("t_ns",))
    fill(ring, 1)
    assert reader.next(out) == 2
    assert (out["q"] == 2).all()


def test_an_unknown_field_is_named(ring: Ring) -> None:
    with pytest.raises(ValueError, match=r"no field 'pixels'; it has \('t_ns'"):
        ring.reader().newest(ring.blank(), fields=("pixels",))


def test_next_yields_every_record_in_order(ring: Ring) -> None:
    reader, out = ring.reader(), ring.blank()
    for first in (1, 4, 7):
        fill(ring, 3)
        assert [reader.next(out) for _ in range(4)] == [first, first + 1, first + 2, 0]
    assert reader.dropped == 0


def test_a_slow_reader_gets_the_rest_in_order_and_counts_its_drops(ring: Ring) -> None:
    reader, out = ring.reader(), ring.blank()
    fill(ring, 10)
    numbers = []
    while number := reader.next(out):
        assert out["t_ns"] == number
        numbers.append(number)
    assert numbers == [7, 8, 9, 10]
    assert reader.dropped == 6


def test_readers_do_not_share_a_position(ring: Ring) -> None:
    first, second, out = ring.reader(), ring.reader(), ring.blank()
    fill(ring, 2)
    assert [first.next(out), first.next(out), second.next(out)] == [1, 2, 1]


def test_a_late_reader_starts_with_the_oldest_and_has_dropped_nothing(ring: Ring) -> None:
    fill(ring, 10)
    reader, out = ring.reader(), ring.blank()
    assert reader.next(out) == 7
    assert reader.dropped == 0


def test_a_reader_made_during_a_write_skips_the_slot_being_written(ring: Ring) -> None:
    fill(ring, 10)
    out = ring.blank()
    with ring.writer().slot():
        reader = ring.reader()
        assert reader.next(out) == 8
        assert reader.dropped == 0


def test_at_reads_what_is_there_and_nothing_else(ring: Ring) -> None:
    fill(ring, 10)
    reader, out = ring.reader(), ring.blank()
    assert [n for n in range(-5, 20) if reader.at(n, out)] == [7, 8, 9, 10]
    assert reader.at(8, out)
    assert out["t_ns"] == 8


def test_slot_publishes_at_the_end_only(ring: Ring) -> None:
    fill(ring, SLOTS)
    reader, out = ring.reader(), ring.blank()
    with ring.writer().slot() as record:
        record["t_ns"] = 99
        assert reader.newest(out) == SLOTS
        assert out["t_ns"] == SLOTS
        assert not reader.at(1, out)
    assert reader.newest(out) == SLOTS + 1
    assert out["t_ns"] == 99


def test_an_exception_in_slot_publishes_nothing_and_the_number_is_used_again(ring: Ring) -> None:
    fill(ring, SLOTS)
    writer, reader, out = ring.writer(), ring.reader(), ring.blank()
    abandon(writer)
    assert reader.newest(out) == SLOTS
    assert not reader.at(1, out)
    assert writer.write(record_of(ring, 5)) == SLOTS + 1
    assert reader.newest(out) == SLOTS + 1
    assert out["t_ns"] == 5


def test_writing_inside_slot_is_refused(ring: Ring) -> None:
    writer = ring.writer()
    with writer.slot():
        with pytest.raises(ShmError, match="not finished"):
            writer.write(ring.blank())
        with pytest.raises(ShmError, match="not finished"), writer.slot():
            pass
    assert ring.count == 1


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((), [("t_ns", "i8")]), np.zeros(1, DTYPE), np.zeros((), DTYPE)[()]],
    ids=["dtype", "shape", "scalar"],
)
def test_a_record_of_another_kind_is_refused(ring: Ring, wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="ring ring: a record"):
        ring.writer().write(wrong)
    with pytest.raises(TypeError, match="ring ring: a record"):
        ring.reader().newest(wrong)
    assert ring.count == 0


def test_records_start_on_cache_lines(ring: Ring) -> None:
    addresses = []
    for _ in range(SLOTS):
        with ring.writer().slot() as record:
            addresses.append(record.__array_interface__["data"][0])
    assert [address % 64 for address in addresses] == [0] * SLOTS
    assert len(set(addresses)) == SLOTS


def mapped(name: str) -> bool:
    return name in Path("/proc/self/maps").read_text()


def test_close_unmaps_and_stops_readers_and_writers() -> None:
    ring = Ring.create(Owner.current(), RingSpec("closing", DTYPE, SLOTS, 1))
    attached = Ring.attach(ring.handle)
    writer, reader, out = ring.writer(), attached.reader(), ring.blank()
    writer.write(out)
    reader.newest(out)
    name = ring.handle.segment
    assert mapped(name)
    for _ in range(2):
        ring.close()
        attached.close()
    assert not mapped(name)
    for use in (lambda: writer.write(out), lambda: reader.newest(out), lambda: ring.count):
        with pytest.raises(ValueError, match="released memoryview"):
            use()
    ring.unlink()


def test_a_record_from_slot_outlives_close() -> None:
    ring = Ring.create(Owner.current(), RingSpec("held", DTYPE, SLOTS, 1))
    with ring.writer().slot() as record:
        record["t_ns"] = 1
    ring.close()
    ring.unlink()
    assert record["t_ns"] == 1
    del record
    ring.close()
    assert not mapped(ring.handle.segment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a/b"}, "ring name 'a/b' must match"),
        ({"name": ""}, "ring name '' must match"),
        ({"dtype": np.dtype("f8")}, "structured dtype"),
        ({"dtype": np.dtype([])}, "structured dtype"),
        ({"dtype": np.dtype([("x", "O")])}, "without objects"),
        ({"slots": 1}, "slots=1 must be 2 or more"),
        ({"version": -1}, "version=-1 outside"),
    ],
)
def test_a_bad_spec_names_its_value(change: dict[str, object], message: str) -> None:
    good = {"name": "x", "dtype": DTYPE, "slots": 4, "version": 1}
    with pytest.raises(ValueError, match=message):
        RingSpec(**(good | change))
