"""What a request costs on the wire: four pictures out, fifty actions back, from a policy that is no work.

The server runs in a process of its own, on loopback. Compared in one run: our client path (websockets.sync and
our codec) and the stock openpi client. All processes keep large blocks in the heap, so that neither client pays
for the page faults of the one before it.

    pytest bench/test_wire.py
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from pytest_benchmark.fixture import BenchmarkFixture
from websockets.sync.client import connect

from policy_server.heap import keep_large_blocks
from policy_server.policy import Policy, Session
from policy_server.protocol import ServerInfo, pack, unpack
from policy_server.server import PolicyServer

ROUNDS = 300
WARM_UP = 30
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


class InstantPolicy(Policy, Session):
    """Answers every observation with the same chunk."""

    info = ServerInfo(policy="instant")
    actions = np.zeros((50, 14))

    def new_session(self) -> Session:
        return self

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        return {"actions": self.actions}


def serve(port: Connection) -> None:
    """Run the server until the process is ended."""

    async def run() -> None:
        async with PolicyServer(InstantPolicy()).listen("127.0.0.1", 0) as listener:
            port.send(listener.sockets[0].getsockname()[1])
            await listener.serve_forever()

    keep_large_blocks()
    asyncio.run(run())


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    keep_large_blocks()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    yield ours.recv()
    process.kill()
    process.join()


@pytest.fixture(scope="module")
def observation() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "state": generator.normal(size=14),
        "images": {name: generator.integers(0, 256, (3, 224, 224), np.uint8) for name in CAMERAS},
        "prompt": "put the lighter into the cup",
    }


def test_round_trip_of_our_client(benchmark: BenchmarkFixture, port: int, observation: dict[str, Any]) -> None:
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as connection:
        connection.recv()

        def infer() -> Any:
            connection.send(pack(observation))
            return unpack(connection.recv())

        reply = benchmark.pedantic(infer, rounds=ROUNDS, warmup_rounds=WARM_UP)
    assert reply["actions"].shape == (50, 14)


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")
def test_round_trip_of_the_stock_client(benchmark: BenchmarkFixture, port: int, observation: dict[str, Any]) -> None:
    stock = WebsocketClientPolicy("127.0.0.1", port)
    reply = benchmark.pedantic(stock.infer, args=(observation,), rounds=ROUNDS, warmup_rounds=WARM_UP)
    stock._ws.close()  # noqa: SLF001 - the stock client has no close of its own
    assert reply["actions"].shape == (50, 14)


def test_pack(benchmark: BenchmarkFixture, observation: dict[str, Any]) -> None:
    message = benchmark.pedantic(pack, args=(observation,), rounds=ROUNDS, warmup_rounds=WARM_UP)
    assert len(message) > 600_000


def test_unpack(benchmark: BenchmarkFixture, observation: dict[str, Any]) -> None:
    message = benchmark.pedantic(unpack, args=(pack(observation),), rounds=ROUNDS, warmup_rounds=WARM_UP)
    assert message["prompt"] == observation["prompt"]
