"""How soon is a frame that one process publishes usable in others?

    python -m bench.hand_over [--quick] [--json FILE]

Frames of 480 x 640 x 3 bytes at 60 Hz from one process to 1, 2, 4 and 8 readers in processes of their own, and the
joint state of two arms to one, over our ring and its peers (`transports`), beside a plain copy of the same bytes. A
time, on the monotonic clock, lies between the frame's being whole in the sender's memory and the reader's having it in
memory that nobody overwrites. That memory is the sender's own, out of which the call that publishes copies; or, where a
frame is filled in place as our cameras fill theirs, already the shared one. Which copies a row's time therefore
contains stands in it. Bytes per second: one after the other, whatever fills them included, each acknowledged by all
readers before the next. All is scheduled normally, the processors are kept awake where that is granted (as the daemon
does), and all processes keep large blocks in the heap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import numpy as np

from bench.alone import run_alone
from bench.host import Host
from bench.results import Bar, Result, result, spread
from bench.transports import HANG_S, SPAWN, TRANSPORTS, Frame, Send, ShmInPlace, Silence, Stamp, Transport
from controller.realtime import hold_cpu_awake
from policy_server.heap import keep_large_blocks

SIZES = {"frame": 480 * 640 * 3, "joints": 600}
READERS = {ShmInPlace.name: (1, 2, 4, 8)}
READERS_OF_PEERS = (1, 4)
RATE_HZ = 60.0
BOUND_MS = 0.4
WARM_UP = 10
END = -1
"""In place of an instant: the last frame."""


def read(transport: Transport, reader: int, back: Connection) -> None:
    """A reader's process: acknowledge each frame with its age in ns, until the last."""
    keep_large_blocks()
    receive = transport.receiver(reader)
    back.send_bytes(b"ready")
    while True:
        frame, now_ns = receive(), time.monotonic_ns()
        stamp_ns = int(frame[:8].view(np.int64)[0])
        back.send_bytes((now_ns - stamp_ns).to_bytes(8, "little"))
        if stamp_ns == END:
            return


@contextmanager
def readers(transport: Transport) -> Iterator[list[Connection]]:
    """All of its readers, ready; what is read from each connection are its acknowledgements."""
    with ExitStack() as stack:
        ends, processes = [], []
        for reader in range(transport.readers):
            here, there = SPAWN.Pipe(duplex=False)
            process = SPAWN.Process(target=read, args=(transport, reader, there), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
            there.close()
            ends.append(here)
            processes.append(process)
        for end in ends:
            _heard(end)
        yield ends
        for process in processes:  # who has seen the last frame ends by itself, and so leaves nothing behind
            process.join(HANG_S)


def _heard(end: Connection) -> bytes:
    if not end.poll(HANG_S):
        raise Silence
    return end.recv_bytes()


def now(memory: Frame) -> None:
    """Stamp a frame: it is whole."""
    instant = memory[:8].view(np.int64)  # made before the clock is read: it takes 30 us when numpy's code is cold
    instant[0] = time.monotonic_ns()


def last(memory: Frame) -> None:
    """Or say that it is the last."""
    memory[:8].view(np.int64)[0] = END


def publish(send: Send, ends: list[Connection], frame: Frame, stamp: Stamp = now) -> list[int]:
    """One frame to all readers; its age in each, in ns."""
    send(frame, stamp)
    return [int.from_bytes(_heard(end), "little") for end in ends]


def measure(transport: Transport, frames: int) -> dict[str, float]:
    """Ages, and bytes per second to all readers together."""
    frame = np.ones(transport.frame_b, np.uint8)
    with readers(transport) as ends:
        send = transport.sender()
        for _ in range(WARM_UP):
            publish(send, ends, frame)
        ages_ns: list[int] = []
        begin_ns = time.monotonic_ns()
        for i in range(frames):
            due_ns = begin_ns + round(i * 1e9 / RATE_HZ)
            time.sleep(max(0.0, (due_ns - time.monotonic_ns()) * 1e-9))
            ages_ns += publish(send, ends, frame)
        rounds_ns = []
        for _ in range(frames):
            begin_ns = time.monotonic_ns()
            publish(send, ends, frame)
            rounds_ns.append(time.monotonic_ns() - begin_ns)
        publish(send, ends, frame, last)
    rate = transport.readers * transport.frame_b / median(rounds_ns) * 1e3
    return {**spread(ages_ns, "ms", 1e-6), "mb_per_s": rate}


def memcpy(frame_b: int, frames: int) -> dict[str, float]:
    """The same bytes from one place of a process to another, at some rate."""
    source, target = np.ones(frame_b, np.uint8), np.zeros(frame_b, np.uint8)
    times_ns = []
    for _ in range(WARM_UP + frames):
        time.sleep(1.0 / RATE_HZ / 4)
        begin_ns = time.monotonic_ns()
        np.copyto(target, source)
        times_ns.append(time.monotonic_ns() - begin_ns)
    times_ns = times_ns[WARM_UP:]
    return {**spread(times_ns, "ms", 1e-6), "mb_per_s": frame_b / median(times_ns) * 1e3}


def bar_of(rows: list[dict[str, Any]]) -> Bar:
    """A camera's frame in another process, as the daemon does it."""
    sought = ("frame", ShmInPlace.name, 1)
    own = next(row for row in rows if (row["what"], row["transport"], row["readers"]) == sought)
    return Bar("a published frame of 480x640, copied out by one reader, median", own["p50_ms"], BOUND_MS, "ms")


def bench(quick: bool = False) -> Result:
    """All transports that this machine has."""
    host = Host()
    keep_large_blocks()
    descriptor, awake = hold_cpu_awake()
    frames = 120 if quick else 600
    rows: list[dict[str, Any]] = []
    notes = [awake, *(f"{kind.name} left out: {kind.missing}" for kind in TRANSPORTS if kind.missing)]
    for what, frame_b in SIZES.items():
        alone = {"what": what, "transport": "memcpy in one process", "copies": "one copy", "readers": 0}
        rows.append(alone | memcpy(frame_b, frames))
        for kind in TRANSPORTS:
            counts = READERS.get(kind.name, READERS_OF_PEERS) if what == "frame" else (1,)
            for count in () if kind.missing else counts:
                with closing(kind(frame_b, count)) as transport:
                    found = measure(transport, frames)
                rows.append({"what": what, "transport": kind.name, "copies": kind.copies, "readers": count} | found)
    del descriptor  # closes with the process
    return result("hand_over", host.header(), rows, [bar_of(rows)], key=["readers"], notes=notes)


if __name__ == "__main__":
    run_alone(bench, __doc__)
