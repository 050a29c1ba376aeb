"""Ways for frames to go from one process to others: our ring with wake-ups, and its peers.

A transport is made in the sending process and goes to each reader as an argument of its process. Each has its fastest
form: a pipe carries raw bytes into a buffer, iceoryx2 lends the reader its memory; a queue has only one form (pickle
and a feeder thread). Where the sender can be lent the shared memory, too, there is a form "filled in place": a camera's
frame is written there to begin with, and is stamped when it is whole.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shm import Owner, Ring, RingHandle, RingSpec, Wake

SPAWN = multiprocessing.get_context("spawn")
Frame = NDArray[np.uint8]
Stamp = Callable[[Frame], None]
"""Writes the instant into a frame that is whole: time runs from there."""
Send = Callable[[Frame, Stamp], object]
Receive = Callable[[], Frame]

HANG_S = 30.0
"""A reader that hears nothing for so long gives up: the sender is gone."""


class Silence(TimeoutError):
    """Nothing came within HANG_S."""


class Transport(ABC):
    """frame_b: bytes of every frame. readers: how many there are; each gets every frame that it is quick enough for."""

    name: str
    copies: str
    """Those of the frame that lie within the time: in to the transport, out of it to the reader."""
    missing: str = ""
    """Why it cannot be had on this machine, and what to do; empty if it can."""

    def __init__(self, frame_b: int, readers: int) -> None:
        self.frame_b, self.readers = frame_b, readers

    @abstractmethod
    def sender(self) -> Send:
        """In the process that made it."""

    @abstractmethod
    def receiver(self, reader: int) -> Receive:
        """In the process of that reader. Waits for a frame; valid until the next call."""

    @abstractmethod
    def close(self) -> None:
        """In the process that made it, at the end."""


class Shm(Transport):
    """Our ring: one copy in, one copy out for each reader, who is woken by an eventfd of its own."""

    name, copies = "shm", "copy in and out"

    def __init__(self, frame_b: int, readers: int) -> None:
        super().__init__(frame_b, readers)
        spec = RingSpec("bench", np.dtype([("body", "u1", (frame_b,))]), 4, 1)
        self._ring: Ring | None = Ring.create(Owner.current(), spec)
        self._handle: RingHandle = self._ring.handle
        self._wakes = [Wake() for _ in range(readers)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ring": None}

    def sender(self) -> Send:
        assert self._ring is not None
        writer = self._ring.writer()

        def send(frame: Frame, stamp: Stamp) -> None:
            with writer.slot() as slot:
                self._fill(slot["body"], frame, stamp)
            for wake in self._wakes:
                wake.set()

        return send

    def _fill(self, slot: Frame, frame: Frame, stamp: Stamp) -> None:
        stamp(frame)
        np.copyto(slot, frame)

    def receiver(self, reader: int) -> Receive:
        ring, wake = Ring.attach(self._handle), self._wakes[reader]
        newest, out = ring.reader().newest, ring.blank()

        def receive() -> Frame:
            if not wake.wait(HANG_S):
                raise Silence
            wake.clear()
            newest(out)
            return out["body"]

        receive.ring = ring  # type: ignore[attr-defined]  # lives as long as its reader
        return receive

    def close(self) -> None:
        assert self._ring is not None
        self._ring.close()
        self._ring.unlink()
        for wake in self._wakes:
            wake.close()


class ShmInPlace(Shm):
    """Our ring as a camera process uses it: the device's own copy goes into the slot."""

    name, copies = "shm, filled in place", "copy out"

    def _fill(self, slot: Frame, frame: Frame, stamp: Stamp) -> None:
        np.copyto(slot, frame)
        stamp(slot)


class Pipe(Transport):
    """multiprocessing.Pipe, one for each reader."""

    name, copies = "pipe", "copy in and out"

    def __init__(self, frame_b: int, readers: int) -> None:
        super().__init__(frame_b, readers)
        self._ends: list[tuple[Connection, Connection]] = [SPAWN.Pipe(duplex=False) for _ in range(readers)]

    def sender(self) -> Send:
        def send(frame: Frame, stamp: Stamp) -> None:
            stamp(frame)
            for _, end in self._ends:
                end.send_bytes(frame)

        return send

    def receiver(self, reader: int) -> Receive:
        end, out = self._ends[reader][0], np.empty(self.frame_b, np.uint8)

        def receive() -> Frame:
            if not end.poll(HANG_S):
                raise Silence
            end.recv_bytes_into(out)
            return out

        return receive

    def close(self) -> None:
        for pair in self._ends:
            for end in pair:
                end.close()


class ProcessQueue(Transport):
    """multiprocessing.Queue, one for each reader."""

    name, copies = "queue", "copy in and out, pickle"

    def __init__(self, frame_b: int, readers: int) -> None:
        super().__init__(frame_b, readers)
        self._queues: list[Queue[Frame]] = [SPAWN.Queue() for _ in range(readers)]

    def sender(self) -> Send:
        def send(frame: Frame, stamp: Stamp) -> None:
            stamp(frame)
            for queue in self._queues:
                queue.put(frame.copy())  # its thread pickles it later, when the caller's frame may hold the next one

        return send

    def receiver(self, reader: int) -> Receive:
        queue = self._queues[reader]
        return lambda: queue.get(timeout=HANG_S)

    def close(self) -> None:
        for queue in self._queues:
            queue.close()
            queue.join_thread()


class Iceoryx2(Transport):
    """iceoryx2's Python binding: publish-subscribe of slices, and an event that wakes the readers."""

    name, copies = "iceoryx2", "copy in"
    missing = (
        ""
        if importlib.util.find_spec("iceoryx2")
        else "iceoryx2 is not installed; `make setup` brings it in on x86-64, elsewhere it has no wheels"
    )

    def __init__(self, frame_b: int, readers: int) -> None:
        super().__init__(frame_b, readers)
        self._topic = f"pi0-bench-{os.getpid()}"

    def sender(self) -> Send:
        frames, events = self._services()
        publisher = frames.publisher_builder().initial_max_slice_len(self.frame_b).create()
        notifier = events.notifier_builder().create()

        body = ctypes.c_uint8 * self.frame_b

        def send(frame: Frame, stamp: Stamp) -> None:
            sample = publisher.loan_slice_uninit(self.frame_b)
            self._fill(np.frombuffer(body.from_address(sample.payload_ptr), np.uint8), frame, stamp)
            sample.assume_init().send()
            notifier.notify()

        return send

    def _fill(self, loan: Frame, frame: Frame, stamp: Stamp) -> None:
        stamp(frame)
        np.copyto(loan, frame)

    def receiver(self, reader: int) -> Receive:
        import iceoryx2

        frames, events = self._services()
        subscriber = frames.subscriber_builder().create()
        listener = events.listener_builder().create()
        hang = iceoryx2.Duration.from_secs_f64(HANG_S)
        held: list[Any] = []

        def receive() -> Frame:
            while (sample := subscriber.receive()) is None:
                if not listener.timed_wait(hang):
                    raise Silence
            held[:] = [sample]
            return np.frombuffer(sample.payload().as_memory_view(), np.uint8)

        return receive

    def close(self) -> None:
        """Nothing: its services end with the last who uses them."""

    def _services(self) -> tuple[Any, Any]:
        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)  # it would tell that it found no configuration file
        node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        frames = node.service_builder(iceoryx2.ServiceName.new(self._topic))
        events = node.service_builder(iceoryx2.ServiceName.new(f"{self._topic}-event"))
        return (
            frames.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8]).max_subscribers(8).open_or_create(),
            events.event().open_or_create(),
        )


class Iceoryx2InPlace(Iceoryx2):
    """The loan is what the device's own copy goes into."""

    name, copies = "iceoryx2, filled in place", "no copy"

    def _fill(self, loan: Frame, frame: Frame, stamp: Stamp) -> None:
        np.copyto(loan, frame)
        stamp(loan)


TRANSPORTS: tuple[type[Transport], ...] = (ShmInPlace, Shm, Pipe, ProcessQueue, Iceoryx2InPlace, Iceoryx2)
