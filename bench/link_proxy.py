"""A TCP proxy that is as slow as a network link: bandwidth, delay, jitter, and the stalls that loss causes.

    python -m bench.link_proxy --link wi-fi --to 8000 --port 8100      # and point policy.url at port 8100

Needs neither root nor the kernel's traffic control. Each connection has a thread that takes bytes in from both ends and
lets them out when `link_shape` says. It waits in select, whose timeout is in microseconds: an event loop's timers round
up to whole milliseconds, and a request of four pictures takes five on a gigabit.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import select
import socket
import sys
import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection

import numpy as np

from bench.link_shape import GIGABIT, HUNDRED_MBIT, WIFI, Lane, Link
from bench.port_process import port_of

LINKS = {link.name.lower().replace(" ", "-"): link for link in (GIGABIT, HUNDRED_MBIT, WIFI)}
READ_B = 64 * 1024
"""Half a millisecond of a gigabit; the last byte of a message comes when it should, whatever this is."""

WAITING = 1024
"""Most reads under way in one direction; beyond that the sender waits, as for a full buffer."""


class Direction:
    """From one end of a connection to the other."""

    def __init__(self, source: socket.socket, target: socket.socket, lane: Lane) -> None:
        self.source, self.target = source, target
        self._lane = lane
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._ended = False
        self.done = False

    @property
    def takes(self) -> bool:
        """Whether it would read more."""
        return not self._ended and len(self._under_way) < WAITING

    @property
    def due_s(self) -> float:
        """When the next bytes are to come out."""
        return self._under_way[0][0] if self._under_way else math.inf

    def take(self) -> None:
        """Bytes that are there, or the end."""
        data = self.source.recv(READ_B)
        self._ended = not data
        self._under_way.append((self._lane.arrival_s(time.monotonic(), len(data)), data))

    def let_out(self) -> None:
        """As many of the bytes that are due as the other end takes."""
        due_s, data = self._under_way.popleft()
        if not data:
            self.target.shutdown(socket.SHUT_WR)
            self.done = True
        elif (sent := self.target.send(data)) < len(data):
            self._under_way.appendleft((due_s, data[sent:]))


def carry(near: socket.socket, far: socket.socket, lanes: tuple[Lane, Lane]) -> None:
    """Move bytes both ways until both ends have closed, or one was reset."""
    ways = Direction(near, far, lanes[0]), Direction(far, near, lanes[1])
    with near, far, contextlib.suppress(OSError):
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        while not all(way.done for way in ways):
            now_s = time.monotonic()
            sources = [way.source for way in ways if way.takes]
            targets = [way.target for way in ways if way.due_s <= now_s]
            next_s = min([way.due_s for way in ways if way.due_s > now_s], default=math.inf)
            wait_s = None if next_s == math.inf else next_s - now_s
            readable, writable, _ = select.select(sources, targets, [], wait_s)
            for way in ways:
                if way.source in readable:
                    way.take()
                if way.target in writable:
                    way.let_out()


def serve(listener: socket.socket, target: tuple[str, int], link: Link, seed: int = 0) -> None:
    """Connect everyone who comes with `target`, for ever. The same seed loses the same segments."""
    for number in itertools.count():
        near, _ = listener.accept()
        try:
            far = socket.create_connection(target)
        except OSError as error:  # as over a real link: this client is refused, later ones may not be
            print(f"no connection to {target[0]}:{target[1]}: {error}", file=sys.stderr)
            near.close()
            continue
        lanes = tuple(Lane(link, np.random.default_rng((seed, number, way))) for way in range(2))
        threading.Thread(target=carry, args=(near, far, lanes), daemon=True).start()


def _in_process(port: Connection, target: tuple[str, int], link: Link) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port.send(listener.getsockname()[1])
        serve(listener, target, link)


def through(link: Link, target_port: int) -> AbstractContextManager[int]:
    """A port of loopback that leads to `target_port` over the link; the proxy runs in a process of its own."""
    return port_of(_in_process, ("127.0.0.1", target_port), link)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--link", choices=LINKS, required=True)
    parser.add_argument("--to", type=int, required=True, metavar="PORT", help="where the policy server listens")
    parser.add_argument("--host", default="127.0.0.1", help="and on which host (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="where to listen on loopback (any that is free)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with socket.create_server(("127.0.0.1", arguments.port)) as listener:
        print(f"{LINKS[arguments.link]}\nlistening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            serve(listener, (arguments.host, arguments.to), LINKS[arguments.link], arguments.seed)


if __name__ == "__main__":
    main()
