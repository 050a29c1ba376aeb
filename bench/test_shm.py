"""What does shared memory cost beside a bare memcpy, and a wake-up beside a pipe's and a semaphore's?

Run `python -m pytest bench/test_shm.py`. Two groups, each with its peers in the same run:

copy-<size>        one process: write() and newest() beside np.copyto of the same bytes.
wake               two processes: an empty message there and one back, so two wake-ups.

Sizes: 600 bytes, the joint state of two arms; a frame, 480 x 640 x 3 bytes. How soon a frame is usable in another
process is `hand_over.py`'s question. No bound is asserted here.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Semaphore

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from shm import Owner, Ring, RingSpec, Wake

SPAWN = multiprocessing.get_context("spawn")
HANG_S = 30.0
DTYPES = {
    "600 B": np.dtype([("t_ns", "i8"), ("body", "f8", (74,))]),
    "frame": np.dtype([("body", "u1", (480, 640, 3))]),
}
Ping = Callable[[], object]

sizes = pytest.mark.parametrize("size", DTYPES)


@contextmanager
def ring_of(size: str) -> Iterator[Ring]:
    ring = Ring.create(Owner.current(), RingSpec("bench", DTYPES[size], 4, 1))
    try:
        yield ring
    finally:
        ring.close()
        ring.unlink()


# ---- copy ----------------------------------------------------------------------------------------------


def measure_copy(benchmark: BenchmarkFixture, size: str, call: Callable[..., object], *args: object) -> None:
    benchmark.group = f"copy-{size}"
    benchmark.extra_info.update(what=f"copy of {size}", how=benchmark.name.removeprefix("test_").partition("[")[0])
    iterations = 100 if size == "600 B" else 1  # of a call of half a microsecond the clock would be half
    benchmark.pedantic(call, args, rounds=3000, iterations=iterations, warmup_rounds=10)


@sizes
def test_memcpy(benchmark: BenchmarkFixture, size: str) -> None:
    n_bytes = DTYPES[size].itemsize
    source, target = np.zeros(n_bytes, np.uint8), np.ones(n_bytes, np.uint8)
    measure_copy(benchmark, size, np.copyto, target, source)


@sizes
def test_write(benchmark: BenchmarkFixture, size: str) -> None:
    with ring_of(size) as ring:
        measure_copy(benchmark, size, ring.writer().write, ring.blank())


@sizes
def test_newest(benchmark: BenchmarkFixture, size: str) -> None:
    with ring_of(size) as ring:
        ring.writer().write(ring.blank())
        measure_copy(benchmark, size, ring.reader().newest, ring.blank())


# ---- wake ----------------------------------------------------------------------------------------------


@contextmanager
def child(target: Callable[..., None], *args: object) -> Iterator[None]:
    process = SPAWN.Process(target=target, args=args)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def echo_wake(ask: Wake, answer: Wake) -> None:
    while ask.wait(HANG_S):
        ask.clear()
        answer.set()


@contextmanager
def by_wake() -> Iterator[Ping]:
    ask, answer = Wake(), Wake()
    with child(echo_wake, ask, answer):

        def ping() -> None:
            ask.set()
            assert answer.wait(HANG_S)
            answer.clear()

        yield ping


def echo_pipe(connection: Connection) -> None:
    while True:
        connection.send_bytes(connection.recv_bytes())


@contextmanager
def by_pipe() -> Iterator[Ping]:
    here, there = SPAWN.Pipe()
    with here, there, child(echo_pipe, there):

        def ping() -> None:
            here.send_bytes(b"")
            assert here.poll(HANG_S)
            here.recv_bytes()

        yield ping


def echo_semaphore(ask: Semaphore, answer: Semaphore) -> None:
    while ask.acquire(timeout=HANG_S):
        answer.release()


@contextmanager
def by_semaphore() -> Iterator[Ping]:
    ask, answer = SPAWN.Semaphore(0), SPAWN.Semaphore(0)
    with child(echo_semaphore, ask, answer):

        def ping() -> None:
            ask.release()
            assert answer.acquire(timeout=HANG_S)

        yield ping


@pytest.mark.parametrize("by", [by_wake, by_pipe, by_semaphore])
def test_wake(benchmark: BenchmarkFixture, by: Callable[[], Ping]) -> None:
    benchmark.group = "wake"
    benchmark.extra_info.update(what="wake-up there and back", how=by.__name__.removeprefix("by_"))
    with by() as ping:
        ping()
        benchmark(ping)
