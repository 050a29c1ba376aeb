"""Two pairs of policy client and server that speak the same protocol: ours, and openpi's.

The policy behind both answers at once; of JPEG files it decodes the pictures, as any policy has to. openpi's client is
the published `openpi-client`. Its server is not published; what stands for it here has its shape, with openpi-client's
codec: `websockets` without compression and without a bound on size, one loop that unpacks, infers and packs.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from openpi_client import msgpack_numpy
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from PIL import Image
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.port_process import port_of
from controller.config import Policy as PolicySection
from controller.jpeg import encode_jpeg
from policy_server.heap import keep_large_blocks
from policy_server.policy import Policy, Session
from policy_server.protocol import ServerInfo, pack, unpack
from policy_server.server import PolicyServer

OURS, STOCK = "ours", "stock"
RAW, JPEG = "raw", "JPEG"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist", "cam_low")
QUALITY = PolicySection.model_fields["jpeg_quality"].default
CHUNK = np.zeros((50, 14))
Infer = Callable[[], Any]


class InstantPolicy(Policy, Session):
    """Answers every observation with the same chunk."""

    info = ServerInfo(policy="instant")

    def new_session(self) -> Session:
        return self

    def infer(self, observation: dict[str, Any]) -> dict[str, Any]:
        for picture in observation["images"].values():
            if isinstance(picture, bytes):
                Image.open(io.BytesIO(picture)).load()
        return {"actions": CHUNK}


async def _serve_ours(port: Connection) -> None:
    async with PolicyServer(InstantPolicy()).listen("127.0.0.1", 0) as listener:
        port.send(listener.sockets[0].getsockname()[1])
        await listener.serve_forever()


async def _answer_as_stock(connection: ServerConnection) -> None:
    policy, packer = InstantPolicy(), msgpack_numpy.Packer()
    await connection.send(packer.pack({}))
    with contextlib.suppress(ConnectionClosed):
        while True:
            begin_s = time.monotonic()
            reply = policy.infer(msgpack_numpy.unpackb(await connection.recv()))
            reply["server_timing"] = {"infer_ms": (time.monotonic() - begin_s) * 1e3}
            await connection.send(packer.pack(reply))


async def _serve_stock(port: Connection) -> None:
    async with serve(_answer_as_stock, "127.0.0.1", 0, compression=None, max_size=None) as listener:
        port.send(next(iter(listener.sockets)).getsockname()[1])
        await listener.serve_forever()


SERVERS = {OURS: _serve_ours, STOCK: _serve_stock}


def _in_process(port: Connection, peer: str) -> None:
    keep_large_blocks()
    asyncio.run(SERVERS[peer](port))


def serving(peer: str) -> AbstractContextManager[int]:
    """The port of loopback at which a server in a process of its own listens."""
    return port_of(_in_process, peer)


@contextlib.contextmanager
def asking(peer: str, port: int, observation: dict[str, Any], encoding: str) -> Iterator[Infer]:
    """One request and its answer, from finished pictures to an array of actions, encoding included."""
    if peer == STOCK:
        assert encoding == RAW, "openpi's client sends arrays only"
        client = WebsocketClientPolicy("127.0.0.1", port)
        try:
            yield lambda: client.infer(observation)
        finally:
            client._ws.close()  # noqa: SLF001 - the stock client has no close of its own
        return
    with connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as connection:
        connection.recv()

        def infer() -> Any:
            connection.send(message(observation, encoding))
            return unpack(connection.recv())

        yield infer


def message(observation: dict[str, Any], encoding: str) -> bytes:
    """A request as our client sends it."""
    if encoding == RAW:
        return pack(observation)
    pictures = {name: encode_jpeg(picture, QUALITY) for name, picture in observation["images"].items()}
    return pack(observation | {"images": pictures})


def observation(num_cameras: int, height: int, width: int) -> dict[str, Any]:
    """Pictures with soft shapes, edges and a sensor's noise: to a JPEG encoder, noise alone would be no picture."""
    random = np.random.default_rng(0)

    def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
        soft = np.asarray(Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).resize((width, height)))
        blocks = random.integers(-40, 41, (height // 32 + 1, width // 32 + 1, 1)).repeat(32, 0).repeat(32, 1)
        noise = random.normal(0.0, 2.0, (height, width, 3))
        whole = np.clip(soft + blocks[:height, :width] + noise, 0, 255).astype(np.uint8)
        return np.ascontiguousarray(whole.transpose(2, 0, 1))

    return {
        "state": random.normal(size=14),
        "images": {name: picture() for name in CAMERAS[:num_cameras]},
        "prompt": "put the lighter into the cup",
    }
