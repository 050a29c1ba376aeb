"""Several processes on one ring: no torn record, writers killed at any point, slow readers, restarts.

No test waits on a clock: loops end after a number of records, the joins' timeouts only end a test that hangs.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

import numpy as np
import pytest

from shm import Owner, Ring, RingHandle, RingSpec, TornRead, Wake

SPAWN = multiprocessing.get_context("spawn")
HANG_S = 30.0

SMALL = np.dtype([("number", "u8"), ("body", "u8", (74,))], align=True)  # 600 bytes, as a joint state
FRAME = np.dtype([("number", "u8"), ("body", "u1", (480, 640, 3))], align=True)


def ring_of(dtype: np.dtype, slots: int = 4) -> Ring:
    return Ring.create(Owner.current(), RingSpec("processes", dtype, slots, 1))


@pytest.fixture(params=[SMALL, FRAME], ids=["small", "frame"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    ring = ring_of(request.param)
    yield ring
    ring.close()
    ring.unlink()


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Starts a function in a spawned process; kills what a failed test leaves running."""
    started: list[BaseProcess] = []

    def start(target: Callable[..., None], *args: object) -> BaseProcess:
        process = SPAWN.Process(target=target, args=args)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
        process.close()


def wait_for(wake: Wake) -> None:
    assert wake.wait(HANG_S), "the other process did not come to its point in time"
    wake.clear()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < give_up, "the other process did not come to its point in time"


def ended(process: BaseProcess) -> int | None:
    process.join(HANG_S)
    return process.exitcode


# ---- a writer as fast as it can ------------------------------------------------------------------------


def hammer(handle: RingHandle, ready: Wake, in_place: bool) -> None:
    """Write records whose every body element follows from the number, until killed."""
    ring = Ring.attach(handle)
    writer, record = ring.writer(), ring.blank()
    while True:
        number = ring.count + 1
        if in_place:
            with writer.slot() as slot:
                slot["number"] = number
                slot["body"].fill(number % 251)
        else:
            record["number"] = number
            record["body"].fill(number % 251)
            writer.write(record)
        if number == 8:
            ready.set()


def check_whole(record: np.ndarray, number: int) -> None:
    assert record["number"] == number
    body = record["body"]
    assert (body == number % 251).all(), f"torn: record {number} holds {np.unique(body)}"


def unless_overtaken(read: Callable[[np.ndarray], int], out: np.ndarray) -> int:
    """A record's number, 0 when this flat-out writer went around the ring in every try: that is told, never torn."""
    try:
        return read(out)
    except TornRead:
        return 0


@pytest.mark.parametrize("in_place", [False, True], ids=["write", "slot"])
def test_no_reader_sees_a_torn_record(ring: Ring, start: Callable[..., BaseProcess], in_place: bool) -> None:
    ready = Wake()
    writer = start(hammer, ring.handle, ready, in_place)
    wait_for(ready)
    n_reads = 10_000 if ring.spec.dtype is SMALL else 500
    newest, in_order, by_number, out = ring.reader(), ring.reader(), ring.reader(), ring.blank()
    last_newest = last_in_order = found = 0
    for _ in range(n_reads):
        if number := unless_overtaken(newest.newest, out):
            assert number >= last_newest
            last_newest = number
            check_whole(out, number)
        if number := unless_overtaken(in_order.next, out):
            assert number > last_in_order
            last_in_order = number
            check_whole(out, number)
        number = max(1, ring.count - 2)
        if by_number.at(number, out):
            found += 1
            check_whole(out, number)
    assert found > 0
    assert last_newest > 8, "the writer did not write while this was reading"
    assert writer.is_alive()
    ready.close()


def test_a_slow_reader_of_a_fast_writer_accounts_for_every_record(
    ring: Ring, start: Callable[..., BaseProcess]
) -> None:
    reader, out, ready = ring.reader(), ring.blank(), Wake()
    writer = start(hammer, ring.handle, ready, True)
    wait_for(ready)
    seen = 0
    for _ in range(20):
        seen += unless_overtaken(reader.next, out) > 0
    writer.kill()
    assert ended(writer) == -signal.SIGKILL
    while reader.next(out):
        seen += 1
    assert seen + reader.dropped == ring.count
    assert reader.dropped > 0
    ready.close()


# ---- a writer that dies --------------------------------------------------------------------------------


def write_then_hang_in_slot(handle: RingHandle, inside: Wake, n_records: int) -> None:
    ring = Ring.attach(handle)
    writer = ring.writer()
    for number in range(ring.count + 1, ring.count + n_records + 1):
        with writer.slot() as record:
            record["number"] = number
            record["body"].fill(number % 251)
    with writer.slot() as record:
        record["number"] = 10**9
        record["body"].reshape(-1)[: record["body"].size // 2] = 255
        inside.set()
        signal.pause()


def test_a_writer_killed_inside_slot_costs_one_slot(ring: Ring, start: Callable[..., BaseProcess]) -> None:
    reader, out, inside = ring.reader(), ring.blank(), Wake()
    for n_killed in (1, 2):
        first = ring.count + 1
        victim = start(write_then_hang_in_slot, ring.handle, inside, 5)
        wait_for(inside)
        victim.kill()
        assert ended(victim) == -signal.SIGKILL

        last = first + 4
        assert ring.count == last
        assert ring.reader().newest(out) == last
        check_whole(out, last)
        kept = []
        while number := reader.next(out):
            check_whole(out, number)
            kept.append(number)
        assert kept == [last - 2, last - 1, last]  # of four slots one is lost with the killed writer
        assert reader.dropped == 2 * n_killed

    writer, record = ring.writer(), ring.blank()
    record["number"] = 11
    record["body"].fill(11)
    assert writer.write(record) == 11
    assert reader.next(out) == 11
    check_whole(out, 11)
    inside.close()


def test_writers_killed_at_any_instant_leave_a_ring_that_works(start: Callable[..., BaseProcess]) -> None:
    ring, ready = ring_of(SMALL), Wake()
    reader, out = ring.reader(), ring.blank()
    for _ in range(3):
        before = ring.count
        writer = start(hammer, ring.handle, ready, False)
        wait_until(lambda since=before: ring.count >= since + 50)
        writer.kill()
        assert ended(writer) == -signal.SIGKILL
        number = reader.newest(out)
        assert number == ring.count >= before + 50
        check_whole(out, number)
    ready.close()
    ring.close()
    ring.unlink()


# ---- a life in a child ---------------------------------------------------------------------------------


def read_one_and_answer(handle: RingHandle, answer: RingHandle) -> None:
    ring, back = Ring.attach(handle), Ring.attach(answer)
    record = ring.blank()
    number = ring.reader().newest(record)
    check_whole(record, number)
    reply = back.blank()
    reply["number"] = number
    back.writer().write(reply)


def answer_and_hang(handle: RingHandle, answer: RingHandle) -> None:
    read_one_and_answer(handle, answer)
    signal.pause()


@pytest.mark.parametrize("ending", [0, -signal.SIGKILL], ids=["exit", "killed"])
def test_a_reader_that_ends_leaves_the_segment_alive(start: Callable[..., BaseProcess], ending: int) -> None:
    ring = ring_of(SMALL)
    answers = Ring.create(Owner.current(), RingSpec("answers", SMALL, 4, 1))
    writer, record, out = ring.writer(), ring.blank(), ring.blank()
    for n in (1, 2):
        record["number"] = n
        record["body"].fill(n)
        writer.write(record)
        child = start(read_one_and_answer if ending == 0 else answer_and_hang, ring.handle, answers.handle)
        wait_until(lambda n=n: answers.count == n)
        if ending:
            child.kill()
        assert ended(child) == ending
        answers.reader().newest(out)
        assert out["number"] == n
    for each in (ring, answers):
        Ring.attach(each.handle).close()  # the name is still there
        each.close()
        each.unlink()
