"""What a request costs on the wire: pictures out, fifty actions back, from a policy that answers at once.

    python -m pytest bench/test_wire.py
    python -m pytest bench/test_wire.py -k "loopback and 224"

Ours beside openpi's client and server (`wire_peers`), 3 and 4 cameras, 224x224 as the policy sees them and 480x640 as
the cameras do, raw and as JPEG files; over loopback and over slower links (`link_proxy`). Encoding and decoding count.
Servers and links have processes of their own, and all processes keep large blocks in the heap, so that no client pays
for the page faults of the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.link_proxy import through
from bench.link_shape import GIGABIT, HUNDRED_MBIT, WIFI, Link
from bench.wire_peers import JPEG, OURS, RAW, STOCK, asking, message, observation, serving
from policy_server.heap import keep_large_blocks
from policy_server.protocol import pack, unpack

LOOPBACK = "loopback"
FAST = Link("loopback by the proxy", 1e6, 0.0)
"""As fast as the proxy goes: what it adds to the links below."""

LINKS = {link.name: link for link in (FAST, GIGABIT, HUNDRED_MBIT, WIFI)}
SIZES = {"224x224": (224, 224), "480x640": (480, 640)}
ROUNDS = {
    LOOPBACK: (150, 40),
    FAST.name: (60, 20),
    GIGABIT.name: (40, 15),
    HUNDRED_MBIT.name: (15, 4),
    WIFI.name: (40, 12),
}
"""Timed requests for each size of picture: enough for a median, and minutes in all."""

WARM_UP = 10


class Case(NamedTuple):
    """One row of the result."""

    link: str
    cameras: int
    size: str
    encoding: str
    peer: str

    def __str__(self) -> str:
        return f"{self.link}, {self.cameras} of {self.size}, {self.encoding}, {self.peer}"


CASES = [
    Case(link, cameras, size, encoding, peer)
    for link, cameras, size, (encoding, peer) in product(
        (LOOPBACK, *LINKS), (3, 4), SIZES, [(RAW, OURS), (RAW, STOCK), (JPEG, OURS)]
    )
    if cameras == 4 or link in (LOOPBACK, GIGABIT.name)  # elsewhere three cost three quarters of four
    if link != FAST.name or (size == "224x224" and encoding == RAW)
]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, int]]:
    """Port of each peer's server."""
    keep_large_blocks()
    with ExitStack() as stack:
        yield {peer: stack.enter_context(serving(peer)) for peer in (OURS, STOCK)}


@pytest.fixture(scope="module")
def ports(servers: dict[str, int]) -> Iterator[dict[tuple[str, str], int]]:
    """Where each peer's server is met over each link."""
    with ExitStack() as stack:
        found = {(LOOPBACK, peer): port for peer, port in servers.items()}
        for (name, link), (peer, port) in product(LINKS.items(), servers.items()):
            found[name, peer] = stack.enter_context(through(link, port))
        yield found


@cache
def seen(cameras: int, size: str) -> dict[str, Any]:
    return observation(cameras, *SIZES[size])


@pytest.mark.filterwarnings(
    "ignore:connect.. must be used as a context:DeprecationWarning"
)  # the stock client does not
@pytest.mark.parametrize("case", CASES, ids=str)
def test_round_trip(benchmark: BenchmarkFixture, ports: dict[tuple[str, str], int], case: Case) -> None:
    benchmark.group = f"{case.link}, {case.cameras} cameras, {case.size}"
    what = seen(case.cameras, case.size)
    benchmark.extra_info.update(case._asdict(), bytes=len(message(what, case.encoding)))
    rounds = ROUNDS[case.link][list(SIZES).index(case.size)]
    with asking(case.peer, ports[case.link, case.peer], what, case.encoding) as infer:
        reply = benchmark.pedantic(infer, rounds=rounds, warmup_rounds=min(WARM_UP, rounds))
    assert reply["actions"].shape == (50, 14)


@pytest.mark.parametrize("step", ["pack", "unpack"])
def test_codec(benchmark: BenchmarkFixture, step: str) -> None:
    benchmark.group = "codec, 4 cameras, 224x224"
    what = seen(4, "224x224")
    data = pack(what)
    benchmark.extra_info.update(
        link=f"{step} alone", cameras=4, size="224x224", encoding=RAW, peer=OURS, bytes=len(data)
    )
    call, argument = (pack, what) if step == "pack" else (unpack, data)
    benchmark.pedantic(call, args=(argument,), rounds=300, warmup_rounds=WARM_UP)
