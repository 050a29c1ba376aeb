"""A peer of `bench.peers`: openpi-client's Runtime, ActionChunkBroker and WebsocketClientPolicy, as published.

    python -m bench.peer_openpi URL SECONDS

The environment is what openpi's example for a real two-armed robot does at each step: the newest picture of each
camera, resized with the client's own tools. Robot and cameras cost nothing (`frames`): a command is only noted. Prints
one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from openpi_client import image_tools
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.base_policy import BasePolicy
from openpi_client.runtime.agents.policy_agent import PolicyAgent
from openpi_client.runtime.environment import Environment
from openpi_client.runtime.runtime import Runtime
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from bench.commands import ACTION_HZ
from bench.frames import Frames
from bench.virtual_clients import STOCK_HORIZON

TILE = 224
WARM_UP_S = 2.0


class Kit(Environment):
    """Cameras that are always in time, and a robot that takes every command at once."""

    def __init__(self, seconds: float) -> None:
        self._frames = Frames()
        self._state = np.zeros(14)
        self._begin_ns = time.monotonic_ns()
        self._end_ns = self._begin_ns + round((WARM_UP_S + seconds) * 1e9)
        self.t_frame_ns = 0
        self.of_new_chunk = False
        self.commands_ns: list[int] = []
        self.end_to_end_ms: list[float] = []

    @property
    def _warm(self) -> bool:
        return time.monotonic_ns() - self._begin_ns >= WARM_UP_S * 1e9

    def reset(self) -> None:
        pass

    def is_episode_complete(self) -> bool:
        return time.monotonic_ns() >= self._end_ns

    def get_observation(self) -> dict[str, Any]:
        pictures, self.t_frame_ns = self._frames.newest(time.monotonic_ns())
        images = {name: _tile(picture) for name, picture in pictures.items()}
        return {"state": self._state, "images": images, "prompt": "sway"}

    def apply_action(self, action: dict[str, Any]) -> None:
        self._state = np.asarray(action["actions"])
        now_ns = time.monotonic_ns()
        if self._warm:
            self.commands_ns.append(now_ns)
            if self.of_new_chunk:
                self.end_to_end_ms.append((now_ns - self.t_frame_ns) * 1e-6)
        self.of_new_chunk = False


class Noted(BasePolicy):
    """The stock client; tells the kit that its next command is the first of a chunk."""

    def __init__(self, client: WebsocketClientPolicy, kit: Kit) -> None:
        self._client, self._kit = client, kit

    def infer(self, obs: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.infer(obs)
        self._kit.of_new_chunk = True
        return {"actions": answer["actions"]}

    def reset(self) -> None:
        pass


def _tile(picture: Any) -> Any:
    resized = image_tools.resize_with_pad(picture, TILE, TILE)
    return np.transpose(image_tools.convert_to_uint8(resized), (2, 0, 1))


def main() -> None:
    """Run the client for so many seconds."""
    url, seconds = sys.argv[1], float(sys.argv[2])
    kit = Kit(seconds)
    policy = Noted(WebsocketClientPolicy(url), kit)
    begin_s = time.process_time(), time.monotonic()
    Runtime(kit, PolicyAgent(ActionChunkBroker(policy, STOCK_HORIZON)), [], max_hz=ACTION_HZ).run()
    used_s, took_s = time.process_time() - begin_s[0], time.monotonic() - begin_s[1]
    found = {"commands_ns": kit.commands_ns, "end_to_end_ms": kit.end_to_end_ms, "cpu_percent": 100 * used_s / took_s}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
